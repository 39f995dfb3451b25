// The apply machine on files and commands of our own: checks, reloads and writes that fail, hang or are cut short.

import test from 'ava';
import { spawn } from 'node:child_process';
import {
  chmodSync, existsSync, lstatSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Files } from '../../core/base/files.js';
import { systemClock } from '../../core/base/clock.js';
import { systemFiles } from '../../core/base/files.js';
import { diff } from '../../sidecar/publish.js';
import { TargetInUse, Sidecar, planOnce, applyOnce } from '../../sidecar/sidecar.js';
import { systemProcesses } from '../../sidecar/processes.js';
import { folder, instance, NO_CLIENT, plainConfig, read, running, sleep, ToldSource, until } from './rig.js';

const TEXT = '{{#services}}{{#each instances}}{{id}};{{else}}none;{{/each}}{{/services}}\n';

/** A program for `check` or `reload`: does what the shell text says, given the words as $1, $2 … */
function sh(text: string, ...words: readonly string[]): readonly string[] {
  return ['/bin/sh', '-c', text, 'sh', ...words];
}

function told(...ids: readonly string[]): ToldSource {
  const source = new ToldSource();
  source.set('web', ids.map((id) => instance(id)));
  return source;
}

test('A3 a reload command that fails twice is repeated although the file is in place, until it is applied', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, {
    reload: { command: sh('echo x >> "$1"; test "$(wc -l < "$1")" -ge 3', join(directory, 'reloads')) },
  });
  const { sidecar, outcomes, lines } = await running(t, config, { source: told('a') });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  t.is(outcomes('failed').length, 2);
  t.like(outcomes('failed')[0], { outcome: { step: 'act', reason: '/bin/sh ended with exit code 1' } });
  t.is(outcomes('applied').length, 1);
  t.is(read(directory, 'reloads'), 'x\nx\nx\n');
  t.is(read(directory, 'live.conf'), 'a;\n');
});

test('a reload command that keeps failing puts the previous files back and leaves the new ones alone', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, {
    reload: { command: sh('! grep -q bad "$1"', '{{target}}') },
    retry: { minMs: 10, maxMs: 20, attempts: 3, quarantineMs: 4_000 },
  });
  const source = told('a');
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  source.set('web', [instance('bad')]);
  await until('rolled back', () => outcomes('rolled_back').length === 1);
  t.is(read(directory, 'live.conf'), 'a;\n');
  t.is(outcomes('failed').length, 2);
  source.touch();
  await until('left alone', () => outcomes('quarantined').length >= 1);
  await until('tried again after the quarantine, without help', () => outcomes('rolled_back').length >= 2);
  t.is(read(directory, 'live.conf'), 'a;\n');
});

test('A1 A2 a check command that fails leaves the live file untouched; the cause gone, it is applied without help', async (t) => {
  const directory = folder(t);
  const check = sh('test ! -e "$1" || { echo broken; exit 3; }', join(directory, 'broken'));
  const config = plainConfig(directory, TEXT, { check });
  const source = told('a');
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  writeFileSync(join(directory, 'broken'), '');
  source.set('web', [instance('b')]);
  await until('the check fails', () => outcomes('failed').length >= 2);
  t.regex(lines(), /g: check of \w+ failed, again in \d+ ms: \/bin\/sh ended with exit code 3: broken/);
  t.is(read(directory, 'live.conf'), 'a;\n');
  t.false(sidecar.status().ready);
  t.deepEqual(readdirSync(directory).filter((name) => name.includes('staged')), []);
  unlinkSync(join(directory, 'broken'));
  await until('applied', () => read(directory, 'live.conf') === 'b;\n');
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)));
});

test('a check that hangs is ended with everything it started, and said so', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, {
    check: sh('sleep 300 & echo $! > "$1"; wait', join(directory, 'child')),
    timeouts: { checkMs: 200 },
  });
  const { outcomes, lines } = await running(t, config, { source: told('a') });
  await until('the check fails', () => outcomes('failed').length >= 1);
  t.regex(lines(), /sh took more than 200 ms and was killed/);
  const child = Number(read(directory, 'child'));
  await until('its child is gone', () => !systemProcesses.isAlive(child));
});

test('a command that does not exist is a clear error', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, { check: ['/no/such/program'] });
  const { outcomes, lines } = await running(t, config, { source: told('a') });
  await until('it fails', () => outcomes('failed').length >= 1);
  t.regex(lines(), /cannot run \/no\/such\/program: there is no such program; install it/);
  t.false(existsSync(join(directory, 'live.conf')));
});

test('an unreadable or broken template is a clear error, touches nothing, and is found when it is mended', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT);
  const source = told('a');
  const { sidecar, events, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  const failures = (): number => events.filter((event) => event.kind === 'render_failed').length;
  unlinkSync(join(directory, 'template.hbs'));
  source.set('web', [instance('b')]);
  await until('it is missed', () => failures() >= 1);
  t.regex(lines(), /template\.hbs: the template cannot be read: there is no such file/);
  writeFileSync(join(directory, 'template.hbs'), 'x\n{{#services}}{{nope}}{{/services}}');
  await until('the error is told', () => /template\.hbs:2: there is no "nope" in service web/.test(lines()));
  t.is(read(directory, 'live.conf'), 'a;\n');
  t.false(sidecar.status().ready);
  writeFileSync(join(directory, 'template.hbs'), TEXT);
  await until('applied', () => read(directory, 'live.conf') === 'b;\n');
});

test('words reach commands as single arguments, whatever is in them', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, {
    templates: [{ source: 'template.hbs', target: 'a $(touch owned) "b.conf', escape: 'nginx', name: 'one' }],
    check: sh(`printf "%s\\n" "$@" "$COTERIE_STAGED" > "${join(directory, 'args')}"`, '{{staged}}', '{{target:one}}'),
  });
  const { sidecar, lines } = await running(t, config, { source: told('a') });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  const staged = join(directory, '.coterie-a $(touch owned) "b.conf.staged');
  t.is(read(directory, 'args'), `${staged}\n${join(directory, 'a $(touch owned) "b.conf')}\n${staged}\n`);
  t.false(existsSync(join(directory, 'owned')));
});

test('mode and link are kept, mode is set before the check, and a given mode wins', async (t) => {
  const directory = folder(t);
  writeFileSync(join(directory, 'real.conf'), 'old\n');
  chmodSync(join(directory, 'real.conf'), 0o640);
  symlinkSync('real.conf', join(directory, 'live.conf'));
  const config = plainConfig(directory, TEXT, {
    check: sh('stat -c %a "$1" > "$2"', '{{staged}}', join(directory, 'mode')),
  });
  const { sidecar, lines } = await running(t, config, { source: told('a') });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  t.true(lstatSync(join(directory, 'live.conf')).isSymbolicLink());
  t.is(read(directory, 'real.conf'), 'a;\n');
  t.is(read(directory, 'mode'), '640\n');
  t.is(statSync(join(directory, 'real.conf')).mode & 0o777, 0o640);
  await sidecar.close();
  const templates = [{ source: 'template.hbs', target: 'other.conf', escape: 'nginx', mode: '0600' }];
  const other = await running(t, plainConfig(directory, TEXT, { templates }), { source: told('a') });
  t.true(await other.sidecar.ready(AbortSignal.timeout(10_000)));
  t.is(statSync(join(directory, 'other.conf')).mode & 0o777, 0o600);
});

test('a link to nothing, a loop of links and a missing folder are refused with the target and what to do', async (t) => {
  const directory = folder(t);
  symlinkSync(join(directory, 'nowhere.conf'), join(directory, 'live.conf'));
  const start = (config = plainConfig(directory, 'x')): Promise<Sidecar> => {
    return Sidecar.start(NO_CLIENT, config, { source: new ToldSource() });
  };
  await t.throwsAsync(start(), { message: /live\.conf is a symbolic link that leads to nothing; create the file it names/ });
  t.true(lstatSync(join(directory, 'live.conf')).isSymbolicLink(), 'the link is left alone');
  rmSync(join(directory, 'live.conf'));
  symlinkSync('live.conf', join(directory, 'live.conf'));
  await t.throwsAsync(start(), { message: /live\.conf cannot be written: ELOOP.*choose another target/ });
  const templates = [{ source: 'template.hbs', target: 'gone/live.conf', escape: 'nginx' }];
  await t.throwsAsync(start(plainConfig(directory, 'x', { templates })), {
    message: /gone\/live\.conf cannot be written: there is no folder .*gone; create it/,
  });
});

test('S7 a second sidecar for the same file is refused, and the first one goes on', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT);
  const source = told('a');
  const first = await running(t, config, { source });
  const refused = await t.throwsAsync(Sidecar.start(NO_CLIENT, config, { source }), { instanceOf: TargetInUse });
  t.regex(refused?.message ?? '', /live\.conf is already kept by another sidecar; stop that one/);
  t.true(await first.sidecar.ready(AbortSignal.timeout(10_000)));
  await first.sidecar.close();
  const second = await running(t, config, { source });
  t.true(await second.sidecar.ready(AbortSignal.timeout(10_000)));
});

/** `systemFiles`, except that nothing can be renamed over `target`, as when it is a mount point. */
function mounted(target: string, onOverwrite: () => void = () => undefined): Files {
  const busy = Object.assign(new Error('EBUSY: resource busy'), { code: 'EBUSY' });
  return {
    append: (file, pieces, done) => {
      if (file === target) onOverwrite();
      systemFiles.append(file, pieces, done);
    },
    write: (file, from, pieces, done) => systemFiles.write(file, from, pieces, done),
    writeSynced: (file, from, pieces, done) => systemFiles.writeSynced(file, from, pieces, done),
    rename: (from, to, done) => (to === target ? queueMicrotask(() => done(busy)) : systemFiles.rename(from, to, done)),
    read: (file, from, sizeBytes, done) => systemFiles.read(file, from, sizeBytes, done),
    truncate: (file, sizeBytes, done) => systemFiles.truncate(file, sizeBytes, done),
    sync: (file, done) => systemFiles.sync(file, done),
    remove: (file, done) => systemFiles.remove(file, done),
    list: (directory, done) => systemFiles.list(directory, done),
    makeDirectory: (directory, mode, done) => systemFiles.makeDirectory(directory, mode, done),
    stat: (file, done) => systemFiles.stat(file, done),
    setAttributes: (file, attributes, done) => systemFiles.setAttributes(file, attributes, done),
    close: (file, done) => systemFiles.close(file, done),
  };
}

test('A14 a target that cannot be renamed over is written in place, and the next start ends a write cut short', async (t) => {
  const directory = folder(t);
  const target = join(directory, 'live.conf');
  writeFileSync(target, 'old\n');
  const { ino } = statSync(target);
  const config = plainConfig(directory, TEXT);
  const first = await running(t, config, { source: told('a'), files: mounted(target) });
  t.true(await first.sidecar.ready(AbortSignal.timeout(10_000)), first.lines());
  t.is(read(directory, 'live.conf'), 'a;\n');
  t.is(statSync(target).ino, ino);
  await first.sidecar.close();
  // As after kill -9 between truncate and append.
  writeFileSync(join(directory, '.coterie-live.conf.journal'), 'a whole new file\n');
  writeFileSync(target, '');
  const source = told('a');
  source.away = true;
  const second = await running(t, config, { source, files: mounted(target) });
  t.is(read(directory, 'live.conf'), 'a whole new file\n');
  t.regex(second.lines(), /finished what a crash had cut short: .*live\.conf/);
  t.false(existsSync(join(directory, '.coterie-live.conf.journal')));
});

test('S1 a sidecar killed at any moment leaves one complete version, and the next one converges', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT);
  const long = Array.from({ length: 2_000 }, (_, i) => `instance-with-a-long-name-${i}`);
  const program = join(import.meta.dirname, 'apply-for-ever.js');
  writeFileSync(join(directory, 'template.hbs'), `${TEXT}# end\n`);
  for (let round = 0; round < 12; round++) {
    const child = spawn(process.execPath, [program, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
    await sleep(round * 7);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    const live = existsSync(join(directory, 'live.conf')) ? readFileSync(join(directory, 'live.conf'), 'utf8') : '';
    t.true(live === '' || (live.endsWith('# end\n') && live.startsWith('instance-')), `round ${round}: ${live.slice(-60)}`);
  }
  const { sidecar, lines } = await running(t, config, { source: told(...long) });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  t.is(read(directory, 'live.conf').split(';').length, long.length + 1);
  t.deepEqual(readdirSync(directory).filter((name) => /staged|journal|\.new$/.test(name)), []);
});

test('S2 a folder that may not be written to is a clear error, and the live file stays', async (t) => {
  const directory = folder(t);
  const target = join(directory, 'live.conf');
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  const files: Files = { ...mounted('/nowhere'), append: (_file, _pieces, done) => queueMicrotask(() => done(full)) };
  writeFileSync(target, 'old\n');
  const { outcomes, lines } = await running(t, plainConfig(directory, TEXT), { source: told('a'), files });
  await until('it fails', () => outcomes('failed').length >= 2);
  t.regex(lines(), /stage of \w+ failed, again in \d+ ms: ENOSPC: no space left on device/);
  t.is(read(directory, 'live.conf'), 'old\n');
});

test('A10 30 files, 200 changes in a second: one check and one reload per window, never none, never two at a time', async (t) => {
  const directory = folder(t);
  const templates = Array.from({ length: 30 }, (_, i) => ({ source: 'template.hbs', target: `f${i}.conf`, escape: 'nginx' }));
  const busy = `mkdir "${directory}/busy" || echo two >> "${directory}/overlap"; sleep 0.05; rmdir "${directory}/busy"`;
  const config = plainConfig(directory, TEXT, {
    templates,
    check: sh(`echo c >> "${directory}/checks"; ${busy}`),
    reload: { command: sh(`echo r >> "${directory}/reloads"; ${busy}`) },
    quiet: { minMs: 50, maxMs: 300 },
  });
  const source = told('start');
  const { sidecar, outcomes, lines } = await running(t, config, { source });
  t.true(await sidecar.ready(AbortSignal.timeout(10_000)), lines());
  const started = systemClock.now();
  for (let i = 0; i < 200; i++) {
    source.set('web', [instance(`i${i}`)]);
    await sleep(4);
  }
  await until('the last change is everywhere', () => templates.every(({ target }) => read(directory, target) === 'i199;\n'));
  // A check begins a round and an outcome ends it: equal counts mean that none is under way.
  await until('and applied', () => outcomes('applied').length === read(directory, 'checks').length / 2);
  const reloads = read(directory, 'reloads').length / 2;
  t.is(reloads, outcomes('applied').length);
  // The first, at least one for the changes, and no more than one for each window of 300 ms.
  const most = 2 + Math.ceil((systemClock.now() - started) / 300);
  t.true(reloads >= 2 && reloads <= most, `${reloads} reloads, at most ${most}`);
  t.false(existsSync(join(directory, 'overlap')));
});

test('a plan says what would change and whether it is valid, and changes nothing', async (t) => {
  const directory = folder(t);
  const config = plainConfig(directory, TEXT, { check: sh('! grep bad "$1"', '{{staged}}') });
  const source = told('a');
  const plan = async (): Promise<unknown> => (await planOnce(NO_CLIENT, config, { source })).get('g');
  t.like(await plan(), { same: false, valid: { ok: true } });
  t.deepEqual(readdirSync(directory), ['template.hbs']);
  t.true(await applyOnce(NO_CLIENT, config, { source }));
  t.like(await plan(), { same: true, valid: { ok: true }, diffs: [] });
  source.set('web', [instance('bad')]);
  t.like(await plan(), { same: false, valid: { ok: false, reason: '/bin/sh ended with exit code 1: bad;' } });
  t.deepEqual(diff(Buffer.from('a\nb\nc'), Buffer.from('a\nx\ny\nc')), ['@@ line 2 @@', '-b', '+x', '+y']);
});
