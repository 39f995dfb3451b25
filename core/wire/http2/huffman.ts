// The Huffman code of HPACK (RFC 7541, appendix B), read only: what is sent here is shorter than the work of coding it.
// The code is canonical, so the lengths of its 257 words say all: words of one length follow each other in the order of their
// symbols, shorter ones first.

import { CODE, ConnectionFault } from './protocol.js';

/** By symbol; the last is the end of the string, which may only begin in the padding. */
const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const END_OF_STRING = 256;

/** One step of the reader takes four bits: where it stands then, and the symbol that ended on the way, if one did. */
const STEP_BITS = 4;
const HAS_SYMBOL = 0x100;
const IS_FAULT = 0x200;
const STATE_SHIFT = 16;

interface Tables {
  /** By state * 16 + bits: the next state above STATE_SHIFT, flags, and the symbol in the low byte. */
  readonly steps: Uint32Array;
  /** States in which a string may end: at most 7 bits of the end of the string behind the last symbol (section 5.2). */
  readonly mayEnd: Uint8Array;
}

const TABLES = makeTables();

/** One character per byte. Throws a `ConnectionFault` for what is no code, and for padding other than section 5.2 has it. */
export function readHuffman(bytes: Uint8Array, from: number, to: number): string {
  const { steps, mayEnd } = TABLES;
  const symbols = Buffer.allocUnsafe(Math.floor(((to - from) * 8) / 5));
  let length = 0;
  let state = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0;
    for (const bits of [byte >> STEP_BITS, byte & 0xf]) {
      const step = steps[state * 16 + bits] ?? IS_FAULT;
      if ((step & IS_FAULT) !== 0) throw new ConnectionFault(CODE.compression, 'a header field is not in Huffman code');
      if ((step & HAS_SYMBOL) !== 0) symbols[length++] = step & 0xff;
      state = step >>> STATE_SHIFT;
    }
  }
  if (mayEnd[state] !== 1) throw new ConnectionFault(CODE.compression, 'a header field in Huffman code is padded wrongly');
  return symbols.toString('latin1', 0, length);
}

/** A node of the tree of the code: a state if it has children. */
interface Node {
  state: number;
  readonly children: [Node | null, Node | null];
  symbol: number;
}

function makeTables(): Tables {
  const root = makeTree();
  const inner: Node[] = [];
  const padding = new Set<Node>();
  number(root, inner);
  for (let node: Node | null = root, bits = 0; node !== null && bits < 8; bits++) {
    padding.add(node);
    node = node.children[1];
  }
  const steps = new Uint32Array(inner.length * 16);
  const mayEnd = new Uint8Array(inner.length);
  for (const node of inner) {
    mayEnd[node.state] = padding.has(node) ? 1 : 0;
    for (let bits = 0; bits < 16; bits++) steps[node.state * 16 + bits] = step(root, node, bits);
  }
  return { steps, mayEnd };
}

function number(node: Node, inner: Node[]): void {
  if (node.symbol >= 0) return;
  node.state = inner.push(node) - 1;
  for (const child of node.children) if (child !== null) number(child, inner);
}

function step(root: Node, start: Node, bits: number): number {
  let node = start;
  let found = 0;
  for (let bit = STEP_BITS - 1; bit >= 0; bit--) {
    const next = node.children[(bits >> bit) & 1] ?? null;
    if (next === null || next.symbol === END_OF_STRING) return IS_FAULT;
    if (next.symbol >= 0) found = HAS_SYMBOL | next.symbol;
    node = next.symbol >= 0 ? root : next;
  }
  return ((node.state << STATE_SHIFT) | found) >>> 0;
}

function makeTree(): Node {
  const root = leaf(-1);
  const bySize = LENGTHS.map((length, symbol) => ({ length, symbol })).sort((a, b) => a.length - b.length || a.symbol - b.symbol);
  let code = 0;
  let size = bySize[0]?.length ?? 0;
  for (const { length, symbol } of bySize) {
    code *= 2 ** (length - size);
    size = length;
    let node = root;
    for (let bit = length - 1; bit > 0; bit--) {
      const side = (code >>> bit) & 1;
      const next: Node = node.children[side] ?? leaf(-1);
      node.children[side] = next;
      node = next;
    }
    node.children[code & 1] = leaf(symbol);
    code += 1;
  }
  return root;
}

function leaf(symbol: number): Node {
  return { state: 0, children: [null, null], symbol };
}
