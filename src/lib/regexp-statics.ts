/**
 * JavaScript engines keep the last string that a regular expression matched (`RegExp.$_`), for as long as nothing else
 * matches. Where that string was a key, it would stay in memory, and in a heap dump, after its request.
 */
const ANYTHING = /^/;

/** Makes the engine forget the string of the last match. */
export function forgetLastMatch(): void {
  ANYTHING.test('');
}
