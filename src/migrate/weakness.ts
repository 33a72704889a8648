/**
 * Why a key is weak, in words for the plan. Nothing of the key is in them. Every weak key works as before; it should be
 * replaced, and by when is the operator's choice.
 */
import { isStrongKey } from '../keys/strength.ts';
import type { SourceConsumer } from './source.ts';

/** What tutorials, tests and placeholders have; found as the whole key or as a word of it. */
const WELL_KNOWN =
  /(?:^|[^a-z])(?:test|testing|demo|example|sample|dummy|secret|password|passwd|changeme|change-me|default|admin|apikey|api-key|my-?key|key-?auth|foo|bar|hello|letmein|qwerty|guest|root|user|todo|xxx+)(?:[^a-z]|$)/i;
const PLACEHOLDER_UUID =
  /^(?:0{8}-0{4}-0{4}-0{4}-0{12}|1{8}-1{4}-1{4}-1{4}-1{12}|f{8}-f{4}-f{4}-f{4}-f{12}|12345678-1234-.*)$/i;
const SEQUENCES = [
  '0123456789',
  'abcdefghijklmnopqrstuvwxyz',
  'qwertyuiopasdfghjklzxcvbnm',
  '0123456789abcdef',
];
const SHORT = 16;
/** Bits in all, by how often each character is there. */
const LOW_ENTROPY_BITS = 64;

/** Empty for a strong key. */
export function weaknessesOf(key: string, consumer: SourceConsumer | undefined): readonly string[] {
  if (isStrongKey(key)) return [];
  const reasons: string[] = [];
  const lower = key.toLowerCase();
  if (key.length < SHORT) reasons.push(`short (${key.length} characters)`);
  if (new Set(lower).size <= 2 && key.length > 2) reasons.push('one or two different characters');
  else if (entropyBits(key) < LOW_ENTROPY_BITS) reasons.push('low entropy');
  if (isSequential(lower)) reasons.push('sequential characters');
  if (WELL_KNOWN.test(key) || PLACEHOLDER_UUID.test(key)) reasons.push('a well-known example or test key');
  const names = [consumer?.username, consumer?.customId].filter(
    (name) => name !== undefined && name.length >= 3,
  );
  if (names.some((name) => name !== undefined && lower.includes(name.toLowerCase()))) {
    reasons.push("contains the consumer's name");
  }
  if (reasons.length === 0) reasons.push('does not look random');
  return reasons;
}

function entropyBits(key: string): number {
  const counts = new Map<string, number>();
  for (const character of key) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= count * Math.log2(count / key.length);
  return bits;
}

/** Whether most of it goes up or down a well-known order. */
function isSequential(lower: string): boolean {
  if (lower.length < 4) return false;
  let steps = 0;
  for (let at = 1; at < lower.length; at += 1) {
    const pair = lower.slice(at - 1, at + 1);
    const back = `${pair.charAt(1)}${pair.charAt(0)}`;
    if (SEQUENCES.some((order) => order.includes(pair) || order.includes(back))) steps += 1;
  }
  return steps >= 0.7 * (lower.length - 1);
}
