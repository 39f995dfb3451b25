// The order of measuring, and what becomes of what fails, with themes that only say that they were asked.

import test from 'ava';
import { watcherOn } from './progress.js';
import { judge, type Figure, type Row } from './report.js';
import { estimateSeconds, runRounds, type Watcher } from './runner.js';
import { Stage } from './stage.js';
import { QUICK, rate, USUAL, type Bench, type Theme } from './theme.js';

const one = rate({ id: 'one', name: 'one', unit: 'x/s' }, null);
const two = rate({ id: 'two', name: 'two', unit: 'x/s' }, null);

const silent: Watcher = { began: () => undefined, measured: () => undefined, failed: () => undefined, progress: () => undefined };

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

async function onStage<T>(use: (stage: Stage) => Promise<T>): Promise<T> {
  const stage = new Stage();
  try {
    return await use(stage);
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
  await onStage((stage) => runRounds({ themes, rounds: 2, pace: USUAL, stage }, silent));
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
  const measured = await onStage((stage) => runRounds({ themes: [broken, fine], rounds: 2, pace: USUAL, stage }, silent));
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
  const measured = await onStage((stage) => runRounds({ themes: [odd], rounds: 1, pace: USUAL, stage }, silent));
  t.deepEqual(measured.map(({ sides }) => sides.etcd), [
    { rounds: [null], faults: ['round 1, etcd: the generator itself was late'] },
    { rounds: [null], faults: ['round 1, etcd: no figure came'] },
  ]);
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
  await onStage((stage) => {
    const plan = { themes, rounds: 1, pace: { ...USUAL, seconds: 6 }, stage };
    return runRounds(plan, watcherOn({ write: (text) => (said += text), isColoured: false }, plan, () => now));
  });
  t.deepEqual(said.split('\n'), [
    '0:00 (3:00 left)  round 1/1  coterie  Puts',
    '1:01 (3:00 left)  round 1/1  coterie    one: 1,234 x/s',
    '1:01 (2:00 left)  round 1/1  etcd     Puts',
    '2:02 (2:00 left)  round 1/1  etcd       one: 1,234 x/s',
    '',
  ]);
});
