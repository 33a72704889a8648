import type { Rule } from '../rule.ts';
import { settingText } from '../looking.ts';
import { parseListen } from '../listen.ts';

export const rule: Rule = {
  id: 'R13-data-plane-admin',
  severity: 'medium',
  title: 'Admin API on a data plane',
  why: 'A data plane takes its configuration from the control plane; its Admin API only shows what it holds, secrets included.',
  mend: 'Set admin_listen = off on data planes.',
  *find({ instances }) {
    for (const instance of instances) {
      const listen = instance.settings.get('admin_listen');
      if (settingText(instance, 'role') !== 'data_plane' || listen?.text === undefined) continue;
      // On other addresses it is found as such.
      const isOnlyLocal = parseListen(listen.text).every(({ reach }) => reach === 'loopback');
      if (isOnlyLocal && parseListen(listen.text).length > 0) yield { place: listen.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `role = data_plane
admin_listen = 127.0.0.1:8001
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `role = data_plane
admin_listen = off
`,
        },
      },
    ],
  },
};
