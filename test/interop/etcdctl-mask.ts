// What etcdctl prints, without what may differ between two servers that behave alike: addresses, random ids, times, sizes,
// positions in the log and checksums. Each mask says why; a mask that hides more than that would hide a bug.

import type { Side } from './pair.js';

/** What is said to the user: without the client's own log lines, which are JSON and full of times, or where it panicked. */
export function spoken(stderr: string): string {
  const [said = ''] = stderr.split('\ngoroutine ');
  const lines = said.split('\n').filter((line) => !/^(?:\{|(?:INFO|WARNING|ERROR): \d)/.test(line));
  return lines.map((line) => line.replace(/^\d{4}-\d\d-\d\d [\d:.]+ /, '')).join('\n');
}

/** `known` are ids in hex, by the name they shall have on both sides. */
export function masked(text: string, side: Side, known: ReadonlyMap<string, string>): string {
  let result = text.replaceAll(side.url, '<url>').replaceAll(side.advertised, '<url>');
  // Bytes are base64 in JSON: what is hidden in them is hidden as well.
  result = result.replace(/"(key|value)":"([A-Za-z0-9+/=]+)"/g, (_all, name: string, bytes: string) => {
    return `"${name}":${JSON.stringify(Buffer.from(bytes, 'base64').toString('latin1'))}`;
  });
  for (const [name, id] of known) result = withoutId(result, id, `<${name}>`);
  // A lock or a candidate has a lease of its own, which nobody names before: its key ends with it.
  for (const [, id = ''] of result.matchAll(/(?<=\w\/)([0-9a-f]{12,16})(?![0-9a-f])/g)) {
    result = withoutId(result, id, '<session>');
  }
  return members(squeezed(untimed(result)));
}

/** In hex and in decimal. */
function withoutId(text: string, id: string, name: string): string {
  const value = BigInt(`0x${id}`);
  const hex = text.replaceAll(id.padStart(16, '0'), name).replaceAll(id, name);
  return hex.replaceAll(value.toString(), name);
}

function untimed(text: string): string {
  return (
    text
      .replace(/took = \S+/g, 'took = <time>')
      .replace(/"took":"[^"]*"/g, '"took":"<time>"')
      .replace(/"Took" : \S+/g, '"Took" : <time>')
      .replace(/(true|false) \| +[\d.]+[^ ]*s(?= )/g, '$1 | <time>')
      // etcd lists the keys of a lease in no order.
      .replace(/"keys":\[([^\]]*)\]/g, (_all, keys: string) => `"keys":[${keys.split(',').sort().join(',')}]`)
      .replace(/(?:^"Key" : .*\n)+/gm, (lines) => `${lines.trimEnd().split('\n').sort().join('\n')}\n`)
      .replace(/attached keys\(\[(.*)\]\)/g, (_all, keys: string) => `attached keys([${keys.split(' ').sort().join(' ')}])`)
      // A second may pass between the commands on one side and not on the other.
      .replace(/remaining\(\d+s\)/g, 'remaining(<seconds>)')
      .replace(/("ttl"|"TTL") ?: ?\d+,?/g, '$1:<seconds>')
      // The two keep their data in different forms, and their logs hold different entries.
      .replace(/"(dbSize|raftIndex|raftAppliedIndex)":\d+/g, '"$1":<n>')
      .replace(/,"dbSizeInUse":\d+/g, '')
      .replace(/"(DBSize|RaftIndex|RaftAppliedIndex)" : \d+/g, '"$1" : <n>')
      .replace(/, [\d.]+ [kM]?B, (true|false), (true|false), (\d+), \d+, \d+, /g, ', <size>, $1, $2, $3, <n>, <n>, ')
      .replace(/\| +[\d.]+ [kM]?B \|(.*)\| +\d+ \| +\d+ \|/g, '| <size> |$1| <n> | <n> |')
      // What a snapshot holds beside keys and their history is each one's own.
      .replace(/^[0-9a-f]{1,8}, (\d+), \d+, [\d.]+ [kM]?B$/m, '<hash>, $1, <keys>, <size>')
      .replace(/^(\| +)[0-9a-f]{1,8}( \| +\d+ \| +)\d+ \| +[\d.]+ [kM]?B \|$/m, '$1<hash>$2<keys> | <size> |')
      .replace(/"totalKey":\d+,"totalSize":\d+/, '"totalKey":<keys>,"totalSize":<size>')
      .replace(/"Keys" : \d+\n"Size" : \d+/, '"Keys" : <keys>\n"Size" : <size>')
      // A checksum is to be compared among members alone.
      .replace(/"hash":\d+/g, '"hash":<hash>')
      .replace(/"Hash" : \d+/g, '"Hash" : <hash>')
      .replace(/^(<url>, )\d+$/gm, '$1<hash>')
      .replace(/^(\| <url> \|) +\d+ \|$/gm, '$1 <hash> |')
  );
}

/** A table is as wide as what was masked in it. */
function squeezed(text: string): string {
  if (!/^\+-+\+/.test(text)) return text;
  return text.replace(/-+/g, '-').replace(/ +/g, ' ');
}

/** Members come in the order of their ids, and those of new members are random, some a digit or two shorter. */
function members(text: string): string {
  const isMember = /^.*, (?:un)?started, .*$|^\|.*(?:un)?started.*$/;
  const lines = text.split('\n');
  const sorted = lines.filter((line) => isMember.test(line)).sort();
  return lines
    .map((line) => (isMember.test(line) ? (sorted.shift() ?? '') : line))
    .join('\n')
    .replace(/^Member +</, 'Member <')
    .replace(/ETCD_INITIAL_CLUSTER="(.*)"/g, (_all, list: string) => `ETCD_INITIAL_CLUSTER="${list.split(',').sort().join(',')}"`)
    .replace(/"members":\[(.*)\]/g, (_all, list: string) => `"members":[${list.split(/(?<=\}),/).sort().join(',')}]`)
    .replace(/(?:"ID" : .*\n(?:"[A-Z].*\n)+\n)+/g, (blocks) => blocks.split('\n\n').sort().join('\n\n'));
}
