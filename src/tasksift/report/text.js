// Words and numbers as they are shown.

// Marks that act on the text around them or cannot be seen; joiners that scripts and emoji need stay.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const HARMLESS = new Set(["\n", "\t", "\u200c", "\u200d"]);

function escapeOf(mark) {
  const code = mark.codePointAt(0);
  const digits = code.toString(16);
  return code > 0xffff ? "\\u{" + digits + "}" : "\\u" + digits.padStart(4, "0");
}

// The text as pieces, [text, whether it stands for a mark].
function pieces(text) {
  const source = String(text).replace(/\r\n/g, "\n");
  const found = [];
  let end = 0;
  for (const match of source.matchAll(HIDDEN)) {
    if (HARMLESS.has(match[0])) continue;
    if (match.index > end) found.push([source.slice(end, match.index), false]);
    found.push([escapeOf(match[0]), true]);
    end = match.index + match[0].length;
  }
  if (end < source.length) found.push([source.slice(end), false]);
  return found;
}

function visible(text) {
  return pieces(text).map((piece) => piece[0]).join("");
}

function cut(text, length) {
  const letters = Array.from(visible(text));
  return letters.length > length ? letters.slice(0, length - 1).join("") + "\u2026" : letters.join("");
}

const NONE = "\u2013";
const MINUS = "\u2212";
const TIMES = "\u00d7";
const known = (value) => typeof value === "number" && Number.isFinite(value);
const signed = (text) => text.replace(/^-/, MINUS);

function whole(value) {
  return known(value) ? signed(Math.round(value).toLocaleString("en-US")) : value == null ? NONE : visible(value);
}

function fixed(value, digits) {
  if (!known(value)) return NONE;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return signed(value.toLocaleString("en-US", options));
}

function significant(value, digits = 3) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return scientific(value);
  return signed(value.toLocaleString("en-US", { maximumSignificantDigits: size >= 1000 ? 6 : digits }));
}

// The digits after the point that tell multiples of a step apart.
function digitsOf(step) {
  let digits = 0;
  while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits++;
  return digits;
}

const RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";

function scientific(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  const [front, power] = value.toExponential(1).split("e");
  return signed(front) + "\u202f" + TIMES + "\u202f" + tenTo(Number(power));
}

function tenTo(power) {
  return "10" + (power < 0 ? "\u207b" : "") + Array.from(String(Math.abs(power)), (digit) => RAISED[Number(digit)]).join("");
}

// A mark of a logarithmic axis: a power of ten, or a few of it.
function powers(value) {
  const [front, power] = value.toExponential(0).split("e").map(Number);
  return (front === 1 ? "" : front + "\u202f" + TIMES + "\u202f") + tenTo(power);
}

function percent(value, digits) {
  if (!known(value)) return NONE;
  const size = Math.abs(value) * 100;
  if (size === 0) return "0%";
  if (digits === undefined) {
    if (size < 0.01) return "<0.01%";
    return signed((value * 100).toLocaleString("en-US", { maximumFractionDigits: size < 1 ? 2 : size < 10 ? 1 : 0 })) + "%";
  }
  return fixed(value * 100, digits) + "%";
}

function seconds(value) {
  if (!known(value)) return NONE;
  if (value < 10) return significant(value, 2) + " s";
  if (value < 120) return Math.round(value) + " s";
  if (value < 7200) return Math.round(value / 60) + " min";
  return significant(value / 3600, 2) + " h";
}

function plural(count, one, many) {
  return whole(count) + " " + (count === 1 ? one : many || one + "s");
}
