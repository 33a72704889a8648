/**
 * How long the index of an imported key may be.
 *
 * A long index lets whoever has store AND pepper test guesses without argon2; a short one lets junk from the street
 * reach argon2. Keys that can't be guessed get 64 bits. The others share a budget: all their indexes together match at
 * most one random string in 256.
 */

/** Index length of keys that nobody can guess. */
export const STRONG_INDEX_BITS = 64;

/** At most this share of random strings may match the index of some weak key. */
const JUNK_SHARE = 1 / 256;
/** Room below the limit, so that a count over many requests stays under it too. */
const HEADROOM = 0.9;
const MAX_WEAK_BITS = 40;

/** Kong's generated keys: 32 characters of A-Z, a-z, 0-9. */
const KONG_FORM = /^[0-9A-Za-z]{32}$/;
const HEX_FORM = /^(?:[0-9a-f]{32,}|[0-9A-F]{32,})$/;
/** UUID version 4: 122 random bits. Counted as strong, since guessing is as hopeless as at 128. */
const UUID4_FORM = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

/**
 * Whether a key looks as if a generator of 128 bits made it. Doubt counts as weak: a weak key wrongly called strong could
 * be guessed without argon2, the reverse costs a little CPU.
 */
export function isStrongKey(key: string): boolean {
  if (UUID4_FORM.test(key)) return looksRandom(key.replaceAll('-', '').toLowerCase(), 16);
  if (HEX_FORM.test(key)) return looksRandom(key.toLowerCase(), 16);
  if (KONG_FORM.test(key)) return looksRandom(key, 62) && !readsLikeWords(key, 0.65);
  // Of a key with separators (`sk_live_…`) only the longest unbroken part counts.
  const part = key.split(/[^0-9A-Za-z]+/).toSorted((a, b) => b.length - a.length)[0] ?? '';
  const alphabet = /[A-Z]/.test(part) && /[a-z]/.test(part) ? 62 : 36;
  return (
    part.length * Math.log2(alphabet) >= 128 &&
    looksRandom(part, alphabet) &&
    mixesClasses(part) &&
    !readsLikeWords(part, 0.45)
  );
}

/** Enough different characters, few repetitions and runs, for text drawn from `alphabet` characters. */
function looksRandom(text: string, alphabet: number): boolean {
  const distinct = new Set(text).size;
  // Expected number of different characters among n draws; words and patterns have far fewer.
  const expected = alphabet * (1 - (1 - 1 / alphabet) ** text.length);
  if (distinct < 0.6 * expected) return false;
  let regular = 0;
  for (let at = 1; at < text.length; at += 1) {
    const step = text.charCodeAt(at) - text.charCodeAt(at - 1);
    if (step === 0 || step === 1 || step === -1) regular += 1;
  }
  // A random neighbour is equal or adjacent with 3 / alphabet; hex has 0.19 of them.
  return regular <= text.length * Math.min(0.5, 3 / alphabet + 0.3) && !hasRepeatedBlock(text);
}

/** The same eight characters twice: joined copies, not randomness. */
function hasRepeatedBlock(text: string): boolean {
  for (let at = 0; at + 8 <= text.length; at += 1) {
    if (text.includes(text.slice(at, at + 8), at + 1)) return true;
  }
  return false;
}

/** The most frequent pairs of letters in English text: two thirds of its pairs, one seventh of random ones. */
const COMMON_PAIRS = new Set(
  (
    'th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic ' +
    'ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un ' +
    'lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ke ey ap pi'
  ).split(' '),
);

function readsLikeWords(text: string, share: number): boolean {
  const lower = text.toLowerCase();
  let pairs = 0;
  let common = 0;
  for (let at = 1; at < lower.length; at += 1) {
    const pair = lower.slice(at - 1, at + 1);
    if (!/^[a-z]{2}$/.test(pair)) continue;
    pairs += 1;
    if (COMMON_PAIRS.has(pair)) common += 1;
  }
  return pairs >= 10 && common > pairs * share;
}

/** Random alphanumeric text changes between digits, small and capital letters; a word with a year at the end hardly does. */
function mixesClasses(text: string): boolean {
  const classOf = (character: string): string =>
    /[0-9]/.test(character) ? 'digit' : /[A-Z]/.test(character) ? 'upper' : 'lower';
  let changes = 0;
  for (let at = 1; at < text.length; at += 1) {
    if (classOf(text.charAt(at)) !== classOf(text.charAt(at - 1))) changes += 1;
  }
  return changes >= 4;
}

export interface IndexLengthCount {
  readonly bits: number;
  readonly count: number;
}

/**
 * Index length for `added` weak keys beside the weak ones already `stored`: log2(number of weak keys) + 8 bits, rounded
 * up, and longer where earlier imports have used up the budget.
 */
export function weakIndexBits(added: number, stored: readonly IndexLengthCount[]): number {
  const weak = stored.filter(({ bits }) => bits < STRONG_INDEX_BITS);
  const total = added + weak.reduce((sum, { count }) => sum + count, 0);
  const used = weak.reduce((sum, { bits, count }) => sum + count / 2 ** bits, 0);
  const budget = JUNK_SHARE * HEADROOM - used;
  const byNumber = Math.ceil(Math.log2(Math.max(1, total)) + 8 - Math.log2(HEADROOM));
  // Half of what is left, so that there is always some left for the next import.
  const byBudget =
    budget > 0 ? Math.ceil(Math.log2(added / (weak.length === 0 ? budget : budget / 2))) : MAX_WEAK_BITS;
  return Math.min(MAX_WEAK_BITS, Math.max(byNumber, byBudget));
}
