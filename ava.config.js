// Tests are compiled by tsc first (Node 20 runs no TypeScript); AVA is told where the output lies.
// COTERIE_DIST names another output folder, so that two builds can be tested side by side.
const dist = process.env.COTERIE_DIST ?? 'dist';

// These take longest, and nearly all of it they wait: begun first, they wait beside all others and not after them.
const LONGEST = /\/interop\/(?:refusals|demo)\.test\.[jt]s$/;

export default {
	files: ['test/**/*.test.ts'],
	typescript: { compile: false, rewritePaths: { './': `${dist}/` } },
	timeout: '4m',
	// Much of what runs against real processes waits; four files at a time keep two cores busy.
	concurrency: 4,
	sortTestFiles: (a, b) => LONGEST.test(b) - LONGEST.test(a) || a.localeCompare(b, [], { numeric: true }),
};
