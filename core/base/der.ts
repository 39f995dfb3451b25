// DER, the byte form of certificates and revocation lists (X.690), as far as reading them needs it: one element after another,
// without copying. What an element means is for whoever reads it.
//
// The library that writes our certificates (issue-certificate.ts) reads lists, too, but not for a member that must answer its
// leader meanwhile: measured, 0.6 s of the event loop for 10,000 numbers and 4.2 s for 100,000, an election's time and more at
// every reload, where this takes 20 and 130 ms; and above some 3,000 numbers it refuses a list unless its limits are lifted.

export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  /** With tag and length. */
  readonly whole: Uint8Array;
}

export const TAG = {
  boolean: 0x01, integer: 0x02, oid: 0x06, utcTime: 0x17, generalizedTime: 0x18, sequence: 0x30,
  /** Of a revocation list (RFC 5280 5.1): its optional last part. */
  extensions: 0xa0,
} as const;

/** All elements that stand in `bytes` one after another. Throws a `RangeError` for what is no DER. */
export function elements(bytes: Uint8Array): readonly Element[] {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const start = at;
    const tag = bytes[at++] ?? 0;
    let length = bytes[at++] ?? NaN;
    if (length === 0x80) throw new RangeError('an element without a length');
    if (length > 0x80) {
      const count = length - 0x80;
      if (count > 4) throw new RangeError('an element longer than this file can be');
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[at++] ?? NaN);
    }
    if (!(at + length <= bytes.length)) throw new RangeError('an element that does not end');
    found.push({ tag, content: bytes.subarray(at, at + length), whole: bytes.subarray(start, at + length) });
    at += length;
  }
  return found;
}

/** The first element of `bytes`, which must have this tag. */
export function element(bytes: Uint8Array, tag: number): Element {
  const [first] = elements(bytes);
  if (first?.tag !== tag) throw new RangeError(`an element of another kind (${first?.tag ?? 'none'} instead of ${tag})`);
  return first;
}

/** Milliseconds since 1970 of a time in UTC, as RFC 5280 4.1.2.5 allows it: two digits of the year up to 2049, then four. */
export function timeOf({ tag, content }: Element): number {
  const text = String.fromCharCode(...content);
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null || (match[1]?.length === 4) !== (tag === TAG.generalizedTime)) throw new RangeError(`${text} is not a time`);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  const days = daysBefore(tag === TAG.generalizedTime ? year : fullYear(year), month) + day - 1;
  return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000;
}

function fullYear(twoDigits: number): number {
  return twoDigits >= 50 ? 1900 + twoDigits : 2000 + twoDigits;
}

/** Days from 1970 to the first of that month, by the rule of the calendar (eras of 400 years, which begin in March). */
function daysBefore(year: number, month: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const ofEra = shifted - era * 400;
  const ofYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5);
  return era * 146_097 + ofEra * 365 + Math.floor(ofEra / 4) - Math.floor(ofEra / 100) + ofYear - 719_468;
}
