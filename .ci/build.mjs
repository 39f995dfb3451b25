// Builds the sources into dist/ (or $COTERIE_DIST): tsc, incremental, then removes output whose source is gone, so that
// a deleted file cannot linger and be run or published. Files in use by a running server are never touched needlessly.
// `--if-needed` does nothing when no source is newer than the last successful build.

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, process.env.COTERIE_DIST ?? 'dist');
const info = join(dist, '.tsbuildinfo');
const stamp = join(dist, '.built');
const rooms = ['core', 'recipes', 'sidecar', 'examples', 'test'];

function walk(directory) {
	if (!existsSync(directory)) return [];
	return readdirSync(directory, { withFileTypes: true, recursive: true })
		.map((entry) => ({ path: join(entry.parentPath ?? entry.path, entry.name), directory: entry.isDirectory() }));
}

const inputs = rooms.flatMap((room) => walk(join(root, room)));
const sources = inputs.filter((entry) => !entry.directory && entry.path.endsWith('.ts') && !entry.path.endsWith('.d.ts'));

function isFresh() {
	if (!existsSync(stamp)) return false;
	const built = statSync(stamp).mtimeMs;
	const watched = [
		...inputs.filter((entry) => entry.directory || entry.path.endsWith('.ts')).map((entry) => entry.path),
		...['package.json', 'tsconfig.json'].map((name) => join(root, name)),
	];
	return watched.every((path) => statSync(path).mtimeMs <= built);
}

function outputOf(source) {
	return join(dist, relative(root, source)).replace(/\.ts$/, '.js');
}

/** An incremental build trusts its notes; notes about output that somebody removed would leave holes. */
function forgetLostOutput() {
	if (!sources.every((source) => existsSync(outputOf(source.path)))) rmSync(info, { force: true });
}

function removeStaleOutput() {
	const wanted = new Set(sources.map((source) => outputOf(source.path).replace(/\.js$/, '')));
	for (const entry of rooms.flatMap((room) => walk(join(dist, room)))) {
		if (entry.directory) continue;
		if (!wanted.has(entry.path.replace(/\.(js|js\.map|d\.ts|d\.ts\.map)$/, ''))) rmSync(entry.path);
	}
}

if (!process.argv.includes('--if-needed') || !isFresh()) {
	const started = new Date();
	const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
	forgetLostOutput();
	const args = ['-p', join(root, 'tsconfig.json'), '--outDir', dist, '--incremental', '--tsBuildInfoFile', info];
	const result = spawnSync(process.execPath, [compiler, ...args], { stdio: 'inherit', cwd: root });
	removeStaleOutput();
	if (result.status !== 0) process.exit(result.status ?? 1);
	const binary = join(dist, 'core', 'main.js');
	if (existsSync(binary)) chmodSync(binary, 0o755);
	writeFileSync(stamp, '');
	utimesSync(stamp, started, started); // A source saved while tsc ran is newer than this build.
}
