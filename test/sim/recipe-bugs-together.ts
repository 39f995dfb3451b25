// The planted bugs of what many do together: barriers, latches, counters, transactional memory, groups. See recipe-mutants.ts.

import type { RecipeBugs } from './recipe-bugs.js';

export const TOGETHER_BUGS: readonly RecipeBugs[] = [
  {
    recipe: 'barrier', tests: ['barrier'],
    bugs: [
      {
        number: 321, name: 'one more may join', file: 'rendezvous',
        edits: [['versionIs(tally, \'<\', parties)', 'versionIs(tally, \'<\', parties + 1)']],
      },
      {
        number: 322, name: 'who joins has no lease', file: 'rendezvous',
        edits: [
          ['{ lease: this.session.lease }),\n                opPut(tally, EMPTY',
            '{}),\n                opPut(tally, EMPTY'],
        ],
      },
      {
        number: 323, name: 'everybody passes before the last has come', file: 'rendezvous',
        edits: [['look.arrived >= parties)', 'look.arrived >= parties - 1)']],
      },
      {
        number: 324, name: 'who is lost is counted all the same', file: 'rendezvous',
        edits: [['if (look.present < (phase === \'enter\' ? look.arrived : parties))', 'if (look.present < 0)']],
      },
      {
        number: 325, name: 'a decision does not compare that there is none', file: 'rendezvous',
        edits: [
          ['return [created(key, \'=\', 0), created(names.tally(this.generation), \'>\', 0)];',
            'return [created(names.tally(this.generation), \'>\', 0)];'],
        ],
      },
      {
        number: 326, name: 'watches begin one revision late', file: 'rendezvous',
        edits: [['const startRevision = look.revision + 1;', 'const startRevision = look.revision + 2;']],
      },
      {
        number: 327, name: 'a generation is opened without a look at the one before', file: 'rendezvous',
        edits: [['[modified(before.key, \'=\', before.modRevision), {', '[{']],
      },
      {
        number: 328, name: 'an opening that may still land is not shut out', file: 'rendezvous',
        edits: [
          ['return door?.kind === \'open\' ? this.#closeOpening',
            'return door?.kind === \'never\' ? this.#closeOpening'],
        ],
      },
      {
        number: 329, name: 'who gives up tells nobody', file: 'rendezvous',
        edits: [['if (this.#fence === 0 && this.#loose === null)\n            return null;', 'return null;']],
      },
      {
        number: 330, name: 'a reset does not compare what it resets', file: 'barrier',
        edits: [['compare: [modified(key, \'=\', revision), ...', 'compare: [...']],
      },
      {
        number: 331, name: 'numbers begin with 1', file: 'rendezvous',
        edits: [['this.index = this.#look.arrived - 1;', 'this.index = this.#look.arrived;']],
      },
      {
        number: 332, name: 'nobody watches the last one', file: 'rendezvous',
        edits: [
          ['look.ahead === null ? names.members(this.generation) : { key: look.ahead }',
            '{ key: look.ahead ?? this.#own }'],
        ],
      },
      {
        number: 333, name: 'a barrier that is broken lets the next one begin', file: 'rendezvous',
        edits: [['if (was.kind === \'broken\' && !was.over)', 'if (was.kind === \'broken\' && was.over)']],
      },
      {
        number: 334, name: 'an arrival is believed without a look at the session', file: 'barrier',
        edits: [['session.assertLive();', '']],
      },
    ],
  },
  {
    recipe: 'double barrier', tests: ['double-barrier'],
    bugs: [
      {
        number: 341, name: 'everybody leaves before the last wants to', file: 'rendezvous',
        edits: [['look.left >= parties)', 'look.left >= parties - 1)']],
      },
      {
        number: 342, name: 'who asks twice to leave counts twice', file: 'rendezvous',
        edits: [['versionIs(this.#own, \'=\', 1),', '']],
      },
      {
        number: 343, name: 'asking to leave takes the entry off its lease', file: 'rendezvous',
        edits: [
          ['opPut(this.#own, EMPTY, { ignoreValue: true, lease: this.session.lease })',
            'opPut(this.#own, EMPTY, { ignoreValue: true })'],
        ],
      },
      {
        number: 344, name: 'who works inside is not told that it is broken', file: 'double-barrier',
        edits: [
          ['this.#over.abort(outcome.kind === \'broken\' ? this.#it.broken(outcome.reason) : new Released(this.#'
            + 'what));',
            ''],
        ],
      },
      {
        number: 345, name: 'work that fails keeps the others waiting', file: 'double-barrier',
        edits: [['if (!inside.signal.aborted)\n            await breaking(session, inside, error, options);', '']],
      },
      {
        number: 346, name: 'who comes while a generation is inside begins the next', file: 'rendezvous',
        edits: [['if (was.kind === \'entered\')\n            throw this.#full();', '']],
      },
      {
        number: 347, name: 'the decision to enter is taken for the one to leave', file: 'rendezvous',
        edits: [['return phase === \'enter\' || outcome.kind !== \'entered\';', 'return true;']],
      },
      {
        number: 348, name: 'the last to leave forgets the newest generation', file: 'rendezvous',
        edits: [['names.forget(this.generation, this.#own, [isOld])', 'names.forget(this.generation, this.#own)']],
      },
      {
        number: 349, name: 'who is lost inside is not noticed', file: 'rendezvous',
        edits: [['(phase === \'enter\' ? look.arrived : parties)', '(phase === \'enter\' ? look.arrived : 0)']],
      },
    ],
  },
  {
    recipe: 'latch', tests: ['latch'],
    bugs: [
      {
        number: 361, name: 'counting does not compare what it counts down', file: 'latch',
        edits: [['compare: [modified(key, \'=\', revision)],', 'compare: [],']],
      },
      {
        number: 363, name: 'it is counted below 0', file: 'latch',
        edits: [['Math.max(0, state.remaining - by)', 'state.remaining - by']],
      },
      {
        number: 364, name: 'a latch created anew is taken for the one before', file: 'latch',
        edits: [['if (this.#since !== kv.createRevision)', 'if (this.#since === 0)']],
      },
      {
        number: 365, name: 'an id that has counted is not kept', file: 'latch',
        edits: [['[opPut(mark, utf8(\'\'))]', '[]']],
      },
      {
        number: 366, name: 'callers that disagree are not told', file: 'latch',
        edits: [['if (state !== null && state.of !== count)', 'if (state !== null && state.of < 0)']],
      },
      {
        number: 367, name: 'it opens one early', file: 'latch',
        edits: [['if (remaining === 0)\n', 'if (remaining <= 1)\n']],
      },
      {
        number: 368, name: 'ids stay when it opens', file: 'latch',
        edits: [['next.remaining === 0 ? [opDelete(all.key, { rangeEnd: all.rangeEnd })] : counted', 'counted']],
      },
      {
        number: 369, name: 'an open latch that is removed tells that it was not', file: 'latch',
        edits: [['if (this.#open.signal.aborted)\n                    return null;', '']],
      },
      {
        number: 370, name: 'whoever comes second creates it anew', file: 'latch',
        edits: [['compare: [created(key, \'=\', 0)],', 'compare: [],']],
      },
    ],
  },
  {
    recipe: 'counter and ids', tests: ['counter'],
    bugs: [
      {
        number: 381, name: 'an addition does not compare the number', file: 'counter',
        edits: [['compare: [modified(key, \'=\', known.revision), ...', 'compare: [...']],
      },
      {
        number: 382, name: 'an addition does not compare that its id is new', file: 'counter',
        edits: [['...(id === null ? [] : [created(id.mark, \'=\', 0)])],', '],']],
      },
      {
        number: 383, name: 'a commit does not compare its receipt', file: 'receipt',
        edits: [['compare: [versionIs(this.#key, \'=\', this.#mark.epoch), ...', 'compare: [...']], tests: ['counter', 'stm'],
      },
      {
        number: 384, name: 'a commit whose answer was lost is sent again', file: 'receipt',
        edits: [['else if (await this.#isDone(task, error))', 'else if (error === null)']],
      },
      {
        number: 385, name: 'a commit that was shut out counts as done', file: 'receipt', tests: ['counter', 'stm'],
        edits: [['return text(kv.value) === \'done\';', 'return true;']],
      },
      {
        number: 386, name: 'the next one to use a receipt begins where the last one did',
        file: 'receipt', tests: ['counter', 'stm'],
        edits: [['this.#mark.epoch += 1;', '']],
      },
      {
        number: 387, name: 'a reservation does not compare the last id', file: 'counter',
        edits: [['compare: [modified(this.#key, \'=\', revision)],', 'compare: [],']],
      },
      {
        number: 388, name: 'a block begins with the last id of the one before', file: 'counter',
        edits: [['return { from: last + 1, to };', 'return { from: last, to };']],
      },
      {
        number: 389, name: 'an id is remembered for less than was asked for', file: 'counter',
        edits: [['.grant(2 * keepSeconds', '.grant(keepSeconds']],
      },
      {
        number: 390, name: 'a number that is not exact any more is counted with', file: 'counter',
        edits: [['if (Number.isSafeInteger(result))', 'if (Number.isInteger(result))']],
      },
      {
        number: 391, name: 'a receipt is used again while its commit may still land',
        file: 'receipt', tests: ['counter', 'stm'],
        edits: [['if (this.#loose)\n            void this.#endLater();\n        else\n            ', '']],
      },
    ],
  },
  {
    recipe: 'stm', tests: ['stm'],
    bugs: [
      {
        number: 401, name: 'absent keys do not count as read', file: 'stm',
        edits: [
          ['this.#note(name, kvs[0]?.modRevision ?? 0);',
            'if (kvs[0] !== undefined) this.#note(name, kvs[0].modRevision);'],
        ],
      },
      {
        number: 402, name: 'what appears in a range is not noticed', file: 'stm',
        edits: [['this.#spans.push({ key: span.key, rangeEnd: upTo });', '']],
      },
      {
        number: 403, name: 'a change one revision after the read is not noticed', file: 'stm',
        edits: [['operand: this.#revision + 1', 'operand: this.#revision + 2']],
      },
      {
        number: 404, name: 'what goes from a range is not noticed', file: 'stm',
        edits: [['this.#note(latin1(key), modRevision);', 'this.#revision += modRevision * 0;']],
      },
      {
        number: 405, name: 'later reads are of later states', file: 'stm',
        edits: [['{ ...request, revision: header.revision }', 'request']],
      },
      {
        number: 406, name: 'what the transaction has deleted it still reads', file: 'stm',
        edits: [
          ['if (own !== undefined)\n            return own?.value ?? null;',
            'if (own)\n            return own.value;'],
        ],
      },
      {
        number: 407, name: 'without a session a lost answer is sent again', file: 'stm',
        edits: [['if (!isApiError(error) || error.outcome === \'unknown\')', 'if (!isApiError(error))']],
      },
      {
        number: 408, name: 'a revision that was compacted ends it', file: 'stm',
        edits: [['if (tx.tooOld && isApiError(error, \'compacted\'))', 'if (tx.tooOld && isApiError(error, \'closed\'))']],
      },
      {
        number: 409, name: 'a limited range is short by what was deleted in it', file: 'stm',
        edits: [['limit + hidden', 'limit']],
      },
      {
        number: 410, name: 'it runs once more than was allowed', file: 'stm',
        edits: [['if (attempt >= attemptsMax)', 'if (attempt > attemptsMax)']],
      },
      {
        number: 411, name: 'a put loses its lease', file: 'stm',
        edits: [['opPut(fromLatin1(key), own.value, { lease: own.lease })', 'opPut(fromLatin1(key), own.value)']],
      },
    ],
  },
  {
    recipe: 'group', tests: ['group'],
    bugs: [
      {
        number: 421, name: 'an update takes the member off its lease', file: 'group',
        edits: [['.put(key, checkData(data), { lease: session.lease })', '.put(key, checkData(data))']],
      },
      {
        number: 422, name: 'members are in the order of their names', file: 'group',
        edits: [['.sort((a, b) => a.since - b.since)', '']],
      },
      {
        number: 423, name: 'what a member has updated is not seen', file: 'group',
        edits: [['if (kvs === this.#from)', 'if (kvs.length === this.#from.length)']],
      },
      {
        number: 424, name: 'everybody joins again with each change', file: 'group',
        edits: [['all.filter(({ since }) => !before.has(since))', 'all']],
      },
      {
        number: 425, name: 'who has left is not told', file: 'group',
        edits: [['.filter(({ since }) => !now.has(since))', '.filter(({ since }) => since < 0)']],
      },
      {
        number: 426, name: 'an update is told although nothing has changed', file: 'group',
        edits: [['before.has(member.since) && before.get(member.since)?.data !== member.data', 'before.has(member.since)']],
      },
    ],
  },
];
