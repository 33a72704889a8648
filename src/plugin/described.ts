/** What a plugin server tells Kong of a plugin, from its generated description. */
import { VERSION, type kongPlugins } from '../generated/kong-schema.ts';
import type { PluginDefinition } from './kong.ts';

export function described({
  name,
  priority,
  phases,
  dump,
}: (typeof kongPlugins)[keyof typeof kongPlugins]): Omit<PluginDefinition, 'start'> {
  return { name, version: VERSION, priority, phases, schema: JSON.stringify(dump.Plugins[0].Schema) };
}
