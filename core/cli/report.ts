// From events to log lines. The only place that decides which event deserves a line, and at what level. Messages are
// stable: whoever filters a log may rely on them. What happens with every request gets no line at all.

import type { NodeEvent } from '../node/events.js';
import type { WireEvent } from '../wire/wire-events.js';
import type { Logger } from './log.js';

/** Above this a sync of the log is worth a warning: etcd warns at the same. */
const SLOW_SYNC_MS = 1000;

export function reportNode(log: Logger, event: NodeEvent): void {
  switch (event.kind) {
    case 'role':
      return log.info({ state: event.state, term: event.term, leader: event.leader.toString(16) }, 'role changed');
    case 'log_repaired':
      return log.warn(fieldsOf(event), 'the log ended in an unfinished batch, never acknowledged; it was cut off');
    case 'restored':
      return log.info(fieldsOf(event), 'state restored from disk');
    case 'synced':
      return event.tookMs < SLOW_SYNC_MS ? undefined : log.warn(fieldsOf(event), 'slow disk: a sync of the log took long');
    case 'snapshot_saved':
      return log.info(fieldsOf(event), 'snapshot saved');
    case 'stalled':
      return log.warn(fieldsOf(event), 'the process stood still; leases were extended by as much');
    case 'checkpoint_lost':
      return log.warn({ leases: event.leases, error: event.error }, 'the time left of long leases could not be written down');
    case 'members':
      return log.info(membersOf(event), 'members changed');
    case 'peer_connected':
      return log.info({ peer: event.peer.toString(16) }, 'connected to a member');
    case 'peer_lost':
      return log.warn({ peer: event.peer.toString(16), reason: event.reason }, 'connection to a member lost');
    case 'frames_dropped': {
      const { peer, reason, count, detail } = event;
      return log.warn({ peer: peer.toString(16), reason, count, detail }, 'messages of a member were not believed');
    }
    case 'snapshot_failed':
      return log.warn({ ...fieldsOf(event), peer: event.peer.toString(16) }, 'a snapshot between members came to nothing');
    case 'dial_failed':
      return log.warn({ ...fieldsOf(event), peer: event.peer.toString(16) }, 'a member cannot be reached');
    case 'connection_refused':
      return log.warn(fieldsOf(event), 'somebody was sent away from the port for members');
    case 'snapshot_sent': {
      const to = event.to.toString(16);
      return event.ok ? log.info({ to }, 'snapshot sent to a member') : log.warn({ to }, 'a snapshot did not reach a member');
    }
    case 'snapshot_installed':
      return log.info(fieldsOf(event), 'snapshot of another member installed');
    case 'refused':
      return log.error({ reason: event.reason, by: event.by.toString(16) }, 'the cluster will not have this member');
    case 'beat':
    case 'peer_round_trip':
      return undefined;
    case 'lease_expired':
      return log.debug({ lease: event.id.toString(16) }, 'lease expired');
    case 'members_differ': {
      const members = event.members.map((id) => id.toString(16)).join(',');
      const said = 'members hold other data than the rest: nothing is written any more';
      return log.error({ revision: event.revision, members }, said);
    }
    case 'stopped':
      return event.error === null ? undefined : log.error({ error: event.error }, 'the node stopped');
  }
}

export function reportWire(log: Logger, event: WireEvent): void {
  // Every call is told of twice.
  if (event.kind === 'call_started' || event.kind === 'call_handled') return;
  if (event.kind === 'failed') log.error({ where: event.where, error: event.error }, 'serving failed');
  if (event.kind === 'connection_refused') log.warn({ connections: event.connections }, 'connection refused: the port is full');
  const { kind, ...fields } = event;
  if (kind === 'handshake_refused') log.warn(fields, 'somebody was sent away from the port for clients');
  if (kind === 'answer_unread') log.warn(fields, 'streams were cut off, because too many large answers wait to be read');
  if (kind === 'connection_flooded') log.warn(fields, 'a connection sent without end what nobody needs, and was cut off');
  if (kind === 'connection_swept') log.warn(fields, 'somebody who was connected is not trusted any more, and was cut off');
}

function membersOf(event: Extract<NodeEvent, { kind: 'members' }>): Record<string, unknown> {
  const hex = (ids: readonly bigint[]): string[] => ids.map((id) => id.toString(16));
  const { voters, outgoing, learners } = event;
  return { voters: hex(voters), ...(outgoing.length === 0 ? {} : { outgoing: hex(outgoing) }), learners: hex(learners) };
}

function fieldsOf(event: NodeEvent): Record<string, unknown> {
  const fields = Object.entries(event).filter(([name]) => name !== 'kind');
  const show = (value: unknown): unknown => (typeof value === 'number' ? Math.round(value) : value);
  return Object.fromEntries(fields.map(([name, value]) => [name, show(value)]));
}
