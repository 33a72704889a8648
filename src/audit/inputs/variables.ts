/** `${NAME:-default}` as compose and shells write it: only a default is known here, a variable alone is not. */

/** The text with defaults in place; undefined when some of it comes from a variable that nothing is known of. */
export function resolveVariables(text: string): string | undefined {
  let isKnown = true;
  const resolved = text
    .replaceAll(
      /\$\{([A-Za-z_]\w*)(?::?[-?]([^}]*))?\}/g,
      (whole: string, _name: string, fallback?: string) => {
        if (fallback !== undefined && /^\$\{\w+:?-/.test(whole)) return fallback;
        isKnown = false;
        return '';
      },
    )
    .replaceAll(/(^|[^$])\$([A-Za-z_]\w*)/g, (_whole: string, before: string) => {
      isKnown = false;
      return before;
    })
    .replaceAll('$$', '$');
  return isKnown ? resolved : undefined;
}
