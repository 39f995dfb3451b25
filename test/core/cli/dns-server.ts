// A DNS server for tests: answers SRV, A and AAAA questions from a table, NXDOMAIN for other names, over UDP on a free port.

import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';

interface Target {
  readonly target: string;
  readonly port: number;
  readonly priority?: number;
}

export interface Zone {
  /** `_etcd-server._tcp.example.test` to targets. */
  readonly srv: Readonly<Record<string, readonly Target[]>>;
  /** Names to addresses. */
  readonly addresses: Readonly<Record<string, readonly string[]>>;
}

export interface DnsServer {
  /** As `--dns-servers` takes it. */
  readonly server: string;
  /** Names that were asked for. */
  readonly asked: readonly string[];
  close(): void;
}

const [A, AAAA, SRV] = [1, 28, 33];

export async function startDns(zone: Zone): Promise<DnsServer> {
  const socket: Socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (query, from) => {
    const { name, type, end } = questionIn(query);
    asked.push(name);
    const records = recordsOf(zone, name, type);
    const isKnown = name in zone.srv || name in zone.addresses;
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8580 | (isKnown ? 0 : 3), 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(records.length, 6);
    const answers = records.map((data) => {
      const front = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, 0]);
      front.writeUInt16BE(data.length, 10);
      return Buffer.concat([front, data]);
    });
    socket.send(Buffer.concat([head, query.subarray(12, end), ...answers]), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return { server: `127.0.0.1:${socket.address().port}`, asked, close: () => void socket.close() };
}

function questionIn(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function recordsOf({ srv, addresses }: Zone, name: string, type: number): Buffer[] {
  if (type === SRV) {
    return (srv[name] ?? []).map(({ target, port, priority = 0 }) => {
      const front = Buffer.alloc(6);
      front.writeUInt16BE(priority, 0);
      front.writeUInt16BE(port, 4);
      return Buffer.concat([front, encoded(target)]);
    });
  }
  const wanted = (addresses[name] ?? []).filter((address) => isIPv6(address) === (type === AAAA));
  if (type !== A && type !== AAAA) return [];
  return wanted.map((address) => (isIPv6(address) ? sixteen(address) : Buffer.from(address.split('.').map(Number))));
}

function encoded(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  const parts = labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  return Buffer.concat([...parts, Buffer.alloc(1)]);
}

/** Only as far as tests write them: `::` and one group behind it. */
function sixteen(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16BE(Number.parseInt(address.replace(/^::/, ''), 16), 14);
  return bytes;
}
