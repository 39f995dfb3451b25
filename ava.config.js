// Tests are compiled by tsc first (Node 20 runs no TypeScript); AVA is told where the output lies.
// COTERIE_DIST names another output folder, so that two builds can be tested side by side.
const dist = process.env.COTERIE_DIST ?? 'dist';

export default {
	files: ['test/**/*.test.ts'],
	typescript: { compile: false, rewritePaths: { './': `${dist}/` } },
	timeout: '2m',
	// Much of what runs against real processes waits; three files at a time keep two cores busy.
	concurrency: 3,
};
