// Intervals of keys, each with something hanging on it, and the question "which contain this key?" answered without
// looking at the others: a treap by start, each node knowing the greatest end below it. Priorities come from a counter
// stirred, so the shape is the same in every run and balanced for any order of insertion.
//
// Keys are latin1 strings, whose `<` is byte order; an end of null is the end of the key space.

export interface Interval<T> {
  readonly start: string;
  readonly end: string | null;
  readonly value: T;
}

interface TreapNode<T> extends Interval<T> {
  readonly priority: number;
  left: TreapNode<T> | null;
  right: TreapNode<T> | null;
  /** The greatest end in this subtree. */
  reach: string | null;
}

export class Intervals<T> {
  #root: TreapNode<T> | null = null;
  #added = 0;

  get(start: string, end: string | null): T | null {
    let node = this.#root;
    while (node !== null) {
      const order = compare(start, end, node);
      if (order === 0) return node.value;
      node = order < 0 ? node.left : node.right;
    }
    return null;
  }

  /** The interval must not be there yet. */
  add(start: string, end: string | null, value: T): void {
    this.#added += 1;
    const priority = stirred(this.#added);
    this.#root = insert(this.#root, { start, end, value, priority, left: null, right: null, reach: end });
  }

  remove(start: string, end: string | null): void {
    this.#root = remove(this.#root, start, end);
  }

  /** Calls `visit` for each interval, by start. */
  each(visit: (value: T) => void): void {
    each(this.#root, visit);
  }

  /** Calls `visit` for each interval with start <= key < end. */
  containing(key: string, visit: (value: T) => void): void {
    walk(this.#root, key, visit);
  }
}

function stirred(n: number): number {
  let z = Math.imul(n ^ (n >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return (z ^ (z >>> 16)) >>> 0;
}

function walk<T>(node: TreapNode<T> | null, key: string, visit: (value: T) => void): void {
  if (node === null || (node.reach !== null && node.reach <= key)) return;
  walk(node.left, key, visit);
  if (node.start > key) return;
  if (node.end === null || node.end > key) visit(node.value);
  walk(node.right, key, visit);
}

function each<T>(node: TreapNode<T> | null, visit: (value: T) => void): void {
  if (node === null) return;
  each(node.left, visit);
  visit(node.value);
  each(node.right, visit);
}

function insert<T>(root: TreapNode<T> | null, node: TreapNode<T>): TreapNode<T> {
  if (root === null) return node;
  if (node.priority > root.priority) {
    const [left, right] = split(root, node.start, node.end);
    node.left = left;
    node.right = right;
    return settled(node);
  }
  if (compare(node.start, node.end, root) < 0) root.left = insert(root.left, node);
  else root.right = insert(root.right, node);
  return settled(root);
}

/** Into those that sort before the interval and those that sort after it. */
function split<T>(root: TreapNode<T> | null, start: string, end: string | null): [TreapNode<T> | null, TreapNode<T> | null] {
  if (root === null) return [null, null];
  if (compare(start, end, root) < 0) {
    const [left, right] = split(root.left, start, end);
    root.left = right;
    return [left, settled(root)];
  }
  const [left, right] = split(root.right, start, end);
  root.right = left;
  return [settled(root), right];
}

function remove<T>(root: TreapNode<T> | null, start: string, end: string | null): TreapNode<T> | null {
  if (root === null) return null;
  const order = compare(start, end, root);
  if (order === 0) return merge(root.left, root.right);
  if (order < 0) root.left = remove(root.left, start, end);
  else root.right = remove(root.right, start, end);
  return settled(root);
}

function merge<T>(left: TreapNode<T> | null, right: TreapNode<T> | null): TreapNode<T> | null {
  if (left === null) return right;
  if (right === null) return left;
  if (left.priority > right.priority) {
    left.right = merge(left.right, right);
    return settled(left);
  }
  right.left = merge(left, right.left);
  return settled(right);
}

/** Recomputes `reach` from the children. */
function settled<T>(node: TreapNode<T>): TreapNode<T> {
  node.reach = farther(node.end, farther(node.left === null ? '' : node.left.reach, node.right === null ? '' : node.right.reach));
  return node;
}

function farther(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return null;
  return a > b ? a : b;
}

/** By start, then by end; null is the farthest end. */
function compare<T>(start: string, end: string | null, node: TreapNode<T>): number {
  if (start !== node.start) return start < node.start ? -1 : 1;
  if (end === node.end) return 0;
  if (end === null) return 1;
  if (node.end === null) return -1;
  return end < node.end ? -1 : 1;
}
