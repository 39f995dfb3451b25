// How much work may be done at once, for what is done in slices: steps are about as long as looking at one key, and are taken
// from as it is done. A little more than there is may be taken.

export interface Steps {
  left: number;
}
