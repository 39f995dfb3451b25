// What `coterie serve` says about itself when somebody looks: the values it chose, and the first command to try. For a
// terminal only; a log gets the same facts as fields of one line.

import { styleText } from 'node:util';

export interface ServerFacts {
  readonly version: string;
  readonly apiVersion: string;
  readonly name: string;
  readonly memberId: bigint;
  readonly clusterId: bigint;
  readonly dataDir: string;
  readonly clientUrls: readonly string[];
  readonly advertisedUrls: readonly string[];
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly snapshotCount: number;
  readonly revision: number;
  readonly keys: number;
  readonly tookMs: number;
}

/** The same facts for a log line: ids in hex, as etcd prints them. */
export function factFields(facts: ServerFacts): Record<string, unknown> {
  const [memberId, clusterId] = [facts.memberId.toString(16), facts.clusterId.toString(16)];
  return { ...facts, memberId, clusterId, tookMs: Math.round(facts.tookMs) };
}

export function banner(facts: ServerFacts, stream: NodeJS.WriteStream): string {
  const bold = (text: string): string => styleText('bold', text, { stream });
  const dim = (text: string): string => styleText('gray', text, { stream });
  const blue = (text: string): string => styleText('cyan', text, { stream });
  const advertised = sameUrls(facts) ? '' : dim(`  advertised as ${facts.advertisedUrls.join(' ')}`);
  const keys = `${facts.keys} ${facts.keys === 1 ? 'key' : 'keys'}`;
  const timing = `heartbeat ${facts.heartbeatMs} ms  election ${facts.electionMs} ms`;
  const rows: readonly (readonly [string, string])[] = [
    ['clients', facts.clientUrls.map(blue).join(' ') + advertised],
    ['member', `${facts.name} ${dim(facts.memberId.toString(16))}  cluster ${dim(facts.clusterId.toString(16))}`],
    ['data', `${facts.dataDir}  ${dim(`revision ${facts.revision}, ${keys}`)}`],
    ['timing', `${timing}  snapshot every ${facts.snapshotCount} entries`],
    ['try', bold(`etcdctl --endpoints ${facts.advertisedUrls[0] ?? ''} put greeting hello`)],
  ];
  const dot = styleText('cyan', '●', { stream });
  const head = `${dot} ${bold(`coterie ${facts.version}`)} ${dim(`speaks etcd ${facts.apiVersion}`)}`;
  return `\n  ${head}\n\n${rows.map(([label, text]) => `    ${dim(label.padEnd(8))} ${text}\n`).join('')}\n`;
}

function sameUrls(facts: ServerFacts): boolean {
  const plain = (urls: readonly string[]): string => urls.join().replaceAll('127.0.0.1', 'localhost');
  return plain(facts.clientUrls) === plain(facts.advertisedUrls);
}
