import type { Rule } from '../rule.ts';
import { settingText } from '../looking.ts';
import { isOff } from '../tree.ts';

export const rule: Rule = {
  id: 'R6-rbac-off',
  severity: 'high',
  title: 'Kong Enterprise without RBAC',
  why: 'Whoever reaches the Admin API may do everything, without a credential.',
  mend: 'Set enforce_rbac = on, and give each administrator a role.',
  *find({ instances }) {
    for (const instance of instances) {
      if (!instance.isEnterprise || isOff(settingText(instance, 'admin_listen'))) continue;
      if (settingText(instance, 'role') === 'data_plane') continue;
      const rbac = instance.settings.get('enforce_rbac');
      if (rbac === undefined) yield { place: instance.place, found: 'no enforce_rbac' };
      else if (rbac.text === 'off') yield { place: rbac.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `enforce_rbac = off
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong/kong-gateway:3.10
    environment:
      KONG_DATABASE: 'off'
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `enforce_rbac = on
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong/kong-gateway:3.10
    environment:
      KONG_ROLE: 'data_plane'
`,
        },
      },
      {
        files: {
          'kong.conf': `admin_listen = 127.0.0.1:8001
`,
        },
      },
    ],
  },
};
