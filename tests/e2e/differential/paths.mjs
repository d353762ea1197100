// The canonical spelling of a path, written from docs/explanation/paths.md and not from the gate's code.

const UNRESERVED = /^[A-Za-z0-9._~-]$/;
const PLAIN = /^[A-Za-z0-9._~!$&'()*+,;=:@-]$/;

/** The one spelling of a path that has no fault. */
export function canonical(path) {
  const pieces = path.match(/%[0-9a-f]{2}|[^]/gi) ?? [];
  const spelt = pieces.map((piece) => {
    if (piece.length === 3) {
      const character = String.fromCharCode(Number.parseInt(piece.slice(1), 16));
      return UNRESERVED.test(character) ? character : piece.toUpperCase();
    }
    return piece === '/' || PLAIN.test(piece) ? piece : encodeURIComponent(piece);
  }).join('');
  const segments = [];
  for (const segment of spelt.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  const isFolder = /(^|\/)\.{0,2}$/.test(spelt);
  return `/${segments.join('/')}${isFolder && segments.length > 0 ? '/' : ''}`;
}

/** The reasons for which a path may be refused: it cannot be read, or not in one way only. */
export function pathFault(path) {
  const faults = [];
  if (/%(?![0-9a-f]{2})/i.test(path)) faults.push('path-malformed');
  const [once, twice] = [decoded(path), decoded(decoded(path))];
  if (/[\x00-\x1f\x7f]/.test(once + twice)) faults.push('path-malformed');
  if (once.includes('\\') || /[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]/.test(once + twice)) faults.push('path-ambiguous');
  if (path.includes('//') && /\/\.\.(\/|$)/.test(once)) faults.push('path-ambiguous');
  if (/%2f/i.test(path)) faults.push('path-encoded-slash');
  return faults;
}

/** Each escape as the byte that it stands for. */
function decoded(text) {
  return text.replace(/%([0-9a-f]{2})/gi, (_, digits) => String.fromCharCode(Number.parseInt(digits, 16)));
}
