import type { Rule } from '../rule.ts';
import { listOf, settingText } from '../looking.ts';

const PLANES = new Set(['control_plane', 'data_plane']);

export const rule: Rule = {
  id: 'R13-hybrid-plugin-missing',
  severity: 'high',
  title: 'Plugin on one plane only',
  why: 'Control plane and data planes must both know a plugin; where one does not, configuration is refused and a data plane goes on with its last one.',
  mend: "Name hashed-key-auth in `plugins`, and its plugin server's query command, on control plane and data planes alike.",
  *find({ instances }) {
    const planes = instances.filter((instance) => PLANES.has(settingText(instance, 'role') ?? ''));
    const withPlugin = planes.filter((instance) =>
      listOf(settingText(instance, 'plugins') ?? 'bundled').includes('hashed-key-auth'),
    );
    if (withPlugin.length === 0) return;
    for (const instance of planes) {
      if (!withPlugin.includes(instance)) yield { place: (instance.settings.get('role') ?? instance).place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'control.conf': `role = control_plane
plugins = bundled
`,
          'data.conf': `role = data_plane
plugins = bundled,hashed-key-auth
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment: {KONG_PLUGINS: 'bundled,other'}
  control:
    image: kong:3.9
    environment: {KONG_ROLE: control_plane, KONG_PLUGINS: 'bundled,hashed-key-auth'}
`,
          'hybrid.yml': `services:
  kong:
    environment: {KONG_ROLE: data_plane}
`,
        },
      },
    ],
    good: [
      {
        // The second file is laid over the first.
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment: {KONG_PLUGINS: 'bundled,hashed-key-auth'}
`,
          'hybrid.yml': `services:
  control:
    image: kong:3.9
    environment: {KONG_ROLE: control_plane, KONG_PLUGINS: 'bundled,hashed-key-auth'}
  kong:
    environment: {KONG_ROLE: data_plane}
`,
        },
      },
      {
        files: {
          'control.conf': `role = control_plane
plugins = bundled,hashed-key-auth
`,
          'data.conf': `role = data_plane
plugins = bundled,hashed-key-auth
`,
        },
      },
    ],
  },
};
