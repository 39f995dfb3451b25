// Which alarms stand, and what is refused while they do (contract 9): without space nothing that takes more of it, and
// nothing at all that writes once the members are known to differ. Written only by applying entries, so that every replica
// refuses the same ones. An alarm stands until somebody clears it: its cause may be gone, and nobody has looked.

import { assert } from '../base/assert.js';
import type { Alarm, AlarmKind } from '../client.js';
import type { ErrorCode } from '../errors.js';
import type { ByteReader, ByteWriter } from './binary.js';
import { ALARM_KINDS, type Command } from './command.js';
import { txnCost } from './cost.js';
import { ALARMS_MAX } from './limits.js';

export class Alarms {
  /** By kind, then ascending by member. */
  #standing: readonly Alarm[] = [];
  #isFull = false;
  #isCorrupt = false;

  /** None stands: the only thing that is asked for every entry. */
  get isQuiet(): boolean {
    return this.#standing.length === 0;
  }

  get isCorrupt(): boolean {
    return this.#isCorrupt;
  }

  /** Those of a member, 0n: of all; of a kind, null: of all. */
  list(memberId: bigint, kind: AlarmKind | null): readonly Alarm[] {
    return this.#standing.filter((alarm) => {
      return (memberId === 0n || alarm.memberId === memberId) && (kind === null || alarm.kind === kind);
    });
  }

  /** The alarm, whether it is new or stood already. */
  raise({ memberId, kind }: Alarm): readonly Alarm[] | ErrorCode {
    if (!this.#has({ memberId, kind })) {
      if (this.#standing.length >= ALARMS_MAX) return 'limit_reached';
      this.#set([...this.#standing, { memberId, kind }].sort(inOrder));
    }
    return [{ memberId, kind }];
  }

  /** The alarm, if it stood. */
  clear(alarm: Alarm): readonly Alarm[] {
    if (!this.#has(alarm)) return [];
    this.#set(this.#standing.filter((each) => !isSame(each, alarm)));
    return [{ memberId: alarm.memberId, kind: alarm.kind }];
  }

  /** Why a command comes to nothing while these alarms stand; null: it does not. */
  refusal(command: Command): ErrorCode | null {
    switch (command.kind) {
      case 'txn':
        if (this.#isCorrupt) return 'corrupt';
        return this.#isFull && txnCost(command.request) > 0 ? 'no_space' : null;
      case 'lease_grant':
        if (this.#isCorrupt) return 'corrupt';
        return this.#isFull ? 'no_space' : null;
      case 'lease_revoke':
      case 'compact':
        return this.#isCorrupt ? 'corrupt' : null;
      default:
        return null;
    }
  }

  write(writer: ByteWriter): void {
    for (const { memberId, kind } of this.#standing) {
      writer.byte(ALARM_KINDS.indexOf(kind));
      writer.i64(BigInt.asIntN(64, memberId));
    }
  }

  static read(reader: ByteReader): Alarms {
    const alarms = new Alarms();
    while (reader.rest > 0) {
      const kind = ALARM_KINDS[reader.byte()];
      assert(kind !== undefined, 'an alarm of no kind');
      alarms.raise({ memberId: BigInt.asUintN(64, reader.i64()), kind });
    }
    return alarms;
  }

  #has(alarm: Alarm): boolean {
    return this.#standing.some((each) => isSame(each, alarm));
  }

  #set(standing: readonly Alarm[]): void {
    this.#standing = standing;
    this.#isFull = standing.some(({ kind }) => kind === 'no_space');
    this.#isCorrupt = standing.some(({ kind }) => kind === 'corrupt');
  }
}

function isSame(a: Alarm, b: Alarm): boolean {
  return a.memberId === b.memberId && a.kind === b.kind;
}

function inOrder(a: Alarm, b: Alarm): number {
  if (a.kind !== b.kind) return ALARM_KINDS.indexOf(a.kind) - ALARM_KINDS.indexOf(b.kind);
  return a.memberId < b.memberId ? -1 : 1;
}
