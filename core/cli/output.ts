// How answers look: the four formats of etcdctl, byte for byte (contract 15). `json` is what Go prints of etcd's messages:
// bare numbers of any size, bytes in base64, nothing that is zero; so it is written here and not by JSON.stringify.

import { styleText } from 'node:util';
import type { Header } from '../client.js';

/** `decoded` is the JSON of our own, by `--json`: keys and values as text, ids in hex. */
export type Format = 'simple' | 'table' | 'json' | 'fields' | 'protobuf' | 'decoded';
export const FORMATS: readonly Format[] = ['simple', 'table', 'json', 'fields', 'protobuf', 'decoded'];

export type Json = null | string | number | bigint | boolean | readonly Json[] | { readonly [name: string]: Json | undefined };

/** Members without a value are left out, in the order given. */
export function json(value: Json): string {
  if (typeof value === 'string') return goString(value);
  if (typeof value !== 'object' || value === null) return String(value);
  if (isArray(value)) return `[${value.map(json).join(',')}]`;
  const pairs = Object.entries(value).map(([name, inner]) => (inner === undefined ? '' : `${goString(name)}:${json(inner)}`));
  return `{${pairs.filter((pair) => pair !== '').join(',')}}`;
}

function isArray(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

/** Go escapes what could end a script in a page. */
function goString(text: string): string {
  return JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** What Go's `omitempty` leaves out is `undefined`. */
export function unlessEmpty<T extends string | number | bigint | boolean | readonly Json[]>(value: T): T | undefined {
  const empty = isArray(value) || typeof value === 'string' ? value.length === 0 : !value;
  return empty ? undefined : value;
}

/** A table with borders: headings in the middle, cells on the right. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => (row[i] ?? '').length)));
  const border = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+\n`;
  const line = (cells: readonly string[]): string => `|${cells.map((cell) => ` ${cell} `).join('|')}|\n`;
  const head = line(headings.map((heading, i) => centred(heading, widths[i] ?? 0)));
  const body = rows.map((row) => line(row.map((cell, i) => cell.padStart(widths[i] ?? 0))));
  return `${border}${head}${border}${body.join('')}${rows.length === 0 ? '' : border}`;
}

/** Columns without borders, as wide as they must be; headings stand out on a terminal that has colours. */
export function columns(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows].map((row) => row.map((cell) => (cell === '' ? '-' : cell)));
  const widths = headings.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]): string => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd();
  return all.map((row, i) => `${i === 0 ? styleText('bold', line(row), { stream: process.stdout }) : line(row)}\n`).join('');
}

/** What others wrote, on one line and without what a terminal would obey. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

function centred(text: string, width: number): string {
  return text.padStart(text.length + Math.floor((width - text.length) / 2)).padEnd(width);
}

/** Lines of `-w fields`: strings in quotes, everything else as it is. */
export function fields(rows: readonly (readonly [name: string, value: string | number | bigint | boolean])[]): string {
  const show = (value: string | number | bigint | boolean): string => {
    return typeof value === 'string' ? JSON.stringify(value) : String(value);
  };
  return rows.map(([name, value]) => `"${name}" : ${show(value)}\n`).join('');
}

/** `33 kB`: thousands, one decimal below ten, as etcdctl has it. */
export function bytesText(count: number): string {
  if (count < 10) return `${count} B`;
  const power = Math.min(6, Math.floor(Math.log10(count) / 3 + 1e-12));
  const scaled = Math.floor((count / 1000 ** power) * 10 + 0.5) / 10;
  // Go rounds a half to the even neighbour: 20.5 is 20.
  const whole = scaled % 1 === 0.5 ? 2 * Math.round(scaled / 2) : Math.round(scaled);
  return `${scaled < 10 ? scaled.toFixed(1) : whole} ${['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'][power] ?? ''}`;
}

/** A duration as Go prints it: `1.488413ms`, `5.000718803s`. */
export function durationText(ms: number): string {
  const trimmed = (value: number, digits: number): string => value.toFixed(digits).replace(/\.?0+$/, '');
  if (ms < 1) return `${trimmed(ms * 1000, 3)}µs`;
  return ms < 1000 ? `${trimmed(ms, 6)}ms` : `${trimmed(ms / 1000, 9)}s`;
}

export function headerJson({ clusterId, memberId, revision, raftTerm }: Header): { readonly [name: string]: Json | undefined } {
  return {
    cluster_id: unlessEmpty(clusterId), member_id: unlessEmpty(memberId), revision: unlessEmpty(revision),
    raft_term: unlessEmpty(raftTerm),
  };
}

export function headerFields({ clusterId, memberId, revision, raftTerm }: Header): (readonly [string, number | bigint])[] {
  return [['ClusterID', clusterId], ['MemberID', memberId], ['Revision', revision], ['RaftTerm', raftTerm]];
}

/** Ids as people read them. */
export function hex(id: bigint): string {
  return id.toString(16);
}

/** As Go's %16x: filled up with spaces. */
export function hex16(id: bigint): string {
  return hex(id).padStart(16);
}
