// Which Node this runs on: asked before anything else is loaded, because an older one would stop at a name it does not know,
// with words that help nobody.

const LEAST: readonly [major: number, minor: number] = [20, 19];

/** What is to be said where `version` is older than package.json allows; null: it is not. */
export function oldRuntime(version: string): string | null {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > LEAST[0] || (major === LEAST[0] && minor >= LEAST[1])) return null;
  return `coterie: Node ${version} is too old\n  install Node ${LEAST.join('.')} or later\n`;
}
