// Keys as bytes: order, prefix ends, ranges, and the conversions between bytes and text. Keys compare as unsigned
// bytes. Inside core a key is often held as a latin1 string (one character per byte), because `<` on such strings is
// byte order and far cheaper than comparing arrays.

const encoder = new TextEncoder();
/** U+FEFF at the front is a letter like any other: without it, the name of a user would become that of another. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export const EMPTY: Uint8Array = new Uint8Array(0);

/** The one-byte key `\0`: as `rangeEnd` it means "to the end of the key space" (contract 4.1). */
export const OPEN_END: Uint8Array = new Uint8Array([0]);

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function text(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** One character per byte, so that `<` on the result is byte order. */
export function latin1(bytes: Uint8Array): string {
  return view(bytes).toString('latin1');
}

export function fromLatin1(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

/** A Buffer over the same memory, for its methods; nothing is copied. */
export function view(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Negative, 0 or positive as a sorts before, with or after b. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

export function isOpenEnd(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}

/**
 * The `rangeEnd` that, together with `prefix` as key, selects every key starting with `prefix`: trailing 0xff bytes
 * dropped, 1 added to the last remaining byte; `\0` if none remain. The prefix of everything is `\0` to `\0`.
 */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const byte = prefix[i] ?? 0;
    if (byte === 0xff) continue;
    // A copy also of a Buffer, whose own `slice` shares its memory.
    const end = new Uint8Array(prefix.subarray(0, i + 1));
    end[i] = byte + 1;
    return end;
  }
  return OPEN_END;
}
