/** What the demo starts from: a kong.yml as people have it, with every key in plain text. */
import { randomBytes } from 'node:crypto';

export interface PlainKey {
  readonly username: string;
  readonly key: string;
  readonly expired: boolean;
}

const WEAK = ['sesame', 'password123', 'letmein-2024', 'mobile-app', 'acme-corp-key'];

function strongKey(): string {
  let text = '';
  while (text.length < 32)
    text += randomBytes(48)
      .toString('base64')
      .replaceAll(/[^0-9A-Za-z]/g, '');
  return text.slice(0, 32);
}

/** 24 consumers with 26 keys: strong and weak, some with tags, some with an end, one that has passed. */
export function plainKongYml(nowMs: number): { yaml: string; keys: readonly PlainKey[] } {
  const keys: PlainKey[] = [];
  const lines = ["_format_version: '3.0'", 'consumers:'];
  const addKey = (username: string, key: string, extra: readonly string[] = [], expired = false): void => {
    keys.push({ username, key, expired });
    lines.push(`      - key: '${key}'`, ...extra.map((line) => `        ${line}`));
  };
  for (let number = 1; number <= 24; number += 1) {
    const username = `team-${String(number).padStart(2, '0')}`;
    lines.push(`  - username: ${username}`);
    if (number % 3 === 0) lines.push(`    custom_id: crm-${1000 + number}`);
    lines.push('    keyauth_credentials:');
    const weak = WEAK[number - 1];
    if (weak !== undefined) addKey(username, weak, ['tags: [legacy]']);
    else if (number === 23)
      addKey(username, strongKey(), [`ttl: ${Math.floor(nowMs / 1000) - 86_400}`], true);
    else if (number === 24) addKey(username, strongKey(), [`ttl: ${Math.floor(nowMs / 1000) + 86_400 * 30}`]);
    else addKey(username, strongKey(), number % 4 === 0 ? ['tags: [mobile, eu]'] : []);
    if (number === 10 || number === 11) addKey(username, strongKey());
  }
  return { yaml: `${lines.join('\n')}\n`, keys };
}
