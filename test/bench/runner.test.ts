// The order of measuring, and what becomes of what fails, with themes that only say that they were asked.

import test from 'ava';
import { watcherOn } from './progress.js';
import { judge, summarize, type Figure, type Measured, type Row } from './report.js';
import { estimateSeconds, runRounds, type Watcher } from './runner.js';
import { Stage } from './stage.js';
import { QUICK, rate, USUAL, type Bench, type Theme } from './theme.js';
import { Trouble } from './trouble.js';

const one = rate({ id: 'one', name: 'one', unit: 'x/s' }, null);
const two = rate({ id: 'two', name: 'two', unit: 'x/s' }, null);

const nothing = (): void => undefined;
const silent: Watcher = { began: nothing, measured: nothing, failed: nothing, progress: nothing, rounded: nothing };

function theme(title: string, rows: readonly Row[], measure: (bench: Bench) => void): Theme {
  return {
    title, rows, quickRows: rows,
    seconds: (pace, name) => (name === 'etcd' ? 20 : 10) * pace.seconds,
    async measure(bench) {
      await Promise.resolve();
      measure(bench);
    },
  };
}

interface Others {
  readonly watcher?: Watcher;
  readonly trouble?: Trouble;
}

async function measuredBy(
  themes: readonly Theme[], rounds: number, { watcher = silent, trouble = new Trouble() }: Others = {},
): Promise<Measured[]> {
  const stage = new Stage();
  try {
    return await runRounds({ themes, rounds, pace: USUAL, stage, trouble }, watcher);
  } finally {
    await stage.close();
  }
}

test('both servers are asked right after each other, and who begins changes with the rounds', async (t) => {
  const asked: string[] = [];
  const themes = ['a', 'b'].map((title) => theme(title, [one], ({ name, record }) => {
    asked.push(`${title} ${name}`);
    record(one, { value: asked.length });
  }));
  await measuredBy(themes, 2);
  t.deepEqual(asked, [
    'a coterie', 'a etcd', 'b coterie', 'b etcd', 'a etcd', 'a coterie', 'b etcd', 'b coterie',
  ]);
});

test('what fails costs its rows of that round, says why, and the rest goes on', async (t) => {
  let times = 0;
  const broken = theme('broken', [one, two], ({ name, record }) => {
    record(one, { value: 10 });
    times += 1;
    if (name === 'coterie' && times === 1) throw new Error('it broke');
    record(two, { value: 20 });
  });
  const fine = theme('fine', [{ ...one, id: 'fine' }], ({ record, wants }) => {
    t.false(wants(two));
    record(two, { value: 1 });
  });
  const measured = await measuredBy([broken, fine], 2);
  const [first, second] = measured;
  t.deepEqual(first?.sides.coterie, { rounds: [{ value: 10 }, { value: 10 }], faults: [] });
  t.deepEqual(second?.sides.coterie, { rounds: [null, { value: 20 }], faults: ['round 1, coterie: it broke'] });
  t.deepEqual(measured.map((each) => judge(each).verdict), ['no goal', 'no goal', 'not measured']);
});

test('what was measured and does not count, and a figure that is none, are refused with a reason', async (t) => {
  const odd = theme('odd', [one, two], ({ record, refuse }) => {
    refuse(one, 'the generator itself was late');
    record(two, { value: NaN });
  });
  const measured = await measuredBy([odd], 1);
  t.deepEqual(measured.map(({ sides }) => sides.etcd), [
    { rounds: [null], faults: ['round 1, etcd: the generator itself was late'] },
    { rounds: [null], faults: ['round 1, etcd: no figure came'] },
  ]);
});

test('what takes minutes is measured in fewer rounds, and the others go on', async (t) => {
  const [long, short] = [theme('long', [one], ({ record }) => record(one, { value: 1 })), theme('short', [two], ({ record }) => {
    record(two, { value: 2 });
  })];
  const themes = [{ ...long, roundsMax: 1 }, short];
  const measured = await measuredBy(themes, 3);
  t.deepEqual(measured.map((each) => judge(each).rounds), [1, 3]);
  t.deepEqual(summarize(measured.map(judge)).fewer.map(({ row }) => row.id), ['one']);
  t.is(estimateSeconds({ themes, rounds: 3, pace: { ...QUICK, seconds: 1 } }), (1 + 3) * 30);
});

test('each round that is over is told at once, with all that came before', async (t) => {
  const told: (number | undefined)[][] = [];
  let value = 0;
  const counting = theme('counting', [one], ({ record }) => record(one, { value: value += 1 }));
  await measuredBy([counting], 2, { watcher: {
    ...silent,
    rounded: (round, [first]) => told.push([round, ...first?.sides.coterie.rounds.map((figure) => figure?.value) ?? []]),
  } });
  t.deepEqual(told, [[1, 1], [2, 1, 4]]);
});

test('an error that nobody waits for costs what is being measured, whose servers are ended, and the rest goes on', async (t) => {
  const trouble = new Trouble();
  let children = 0;
  const hanging: Theme = {
    ...theme('hanging', [one, two], nothing),
    async measure({ stage, record, name }) {
      record(one, { value: 1 });
      const { child } = stage.launch([process.execPath, ['-e', 'setInterval(() => undefined, 1000)']]);
      child.once('exit', () => (children += 1));
      setImmediate(() => trouble.fail(new Error(`the ${name} of nobody`)));
      await new Promise(nothing);
    },
  };
  const fine = theme('fine', [{ ...one, id: 'fine' }], ({ record }) => record(two, { value: 2 }));
  const [first, second, third] = await measuredBy([hanging, fine], 1, { trouble });
  t.is(children, 2);
  t.deepEqual(first?.sides.coterie, { rounds: [{ value: 1 }], faults: [] });
  t.deepEqual(second?.sides.etcd, { rounds: [null], faults: ['round 1, etcd: the etcd of nobody'] });
  t.deepEqual(third?.sides.coterie.faults, []);
  t.false(trouble.fail(new Error('afterwards')));
});

test('a theme that was given up starts nothing any more', async (t) => {
  const trouble = new Trouble();
  const command = [process.execPath, ['--version']] as const;
  let restart = (): void => t.fail('nothing was given up');
  const late: Theme = {
    ...theme('late', [one], nothing),
    async measure({ stage, record, name }) {
      if (name === 'coterie') {
        restart = () => void stage.launch(command);
        setImmediate(() => trouble.fail(new Error('it stands still')));
        await new Promise(nothing);
      }
      t.throws(restart, { message: 'it has been given up, and another is being measured' });
      stage.launch(command);
      record(one, { value: 1 });
    },
  };
  const [measured] = await measuredBy([late], 1, { trouble });
  t.deepEqual(measured?.sides.etcd, { rounds: [{ value: 1 }], faults: [] });
});

test('a theme that never ends is given up', async (t) => {
  await t.throwsAsync(new Trouble().during(new Promise(nothing), 1), { message: 'not done after 0 seconds' });
});

test('a run that is ended tells what it has, without charging the rows it did not come to', async (t) => {
  const trouble = new Trouble();
  const ended: string[] = [];
  const themes = ['a', 'b', 'c'].map((title) => theme(title, [{ ...one, id: title }], ({ wants, record, name }) => {
    ended.push(`${title} ${name}`);
    for (const { rows } of themes) for (const row of rows) if (wants(row)) record(row, { value: 1 });
    if (title === 'b') trouble.end();
  }));
  const measured = await measuredBy(themes, 2, { trouble });
  t.deepEqual(ended, ['a coterie', 'a etcd', 'b coterie']);
  t.deepEqual(measured.map(({ sides }) => [sides.coterie.rounds.length, sides.etcd.rounds.length]), [[1, 1], [1, 0], [0, 0]]);
  t.deepEqual(measured.flatMap((each) => judge(each).faults), []);
});

test('the estimate counts every theme, both servers and all rounds', (t) => {
  const themes = [theme('a', [one], () => undefined), theme('b', [two], () => undefined)];
  t.is(estimateSeconds({ themes, rounds: 5, pace: { ...QUICK, seconds: 2 } }), 5 * 2 * (20 + 40));
});

test('progress says what is being measured, what came, how long it has taken and what is left', async (t) => {
  let said = '';
  let now = 0;
  const figure: Figure = { value: 1234.4 };
  const themes = [theme('Puts', [one], ({ record }) => {
    now += 61_000;
    record(one, figure);
  })];
  const outline = { themes, rounds: 1, pace: USUAL };
  const watcher = watcherOn({ write: (text) => (said += text), isColoured: false }, outline, () => now);
  await measuredBy(themes, 1, { watcher: { ...watcher, rounded: nothing } });
  t.deepEqual(said.split('\n'), [
    '0:00 (1:30 left)  round 1/1  coterie  Puts',
    '1:01 (1:30 left)  round 1/1  coterie    one: 1,234 x/s',
    '1:01 (1:00 left)  round 1/1  etcd     Puts',
    '2:02 (1:00 left)  round 1/1  etcd       one: 1,234 x/s',
    '',
  ]);
});
