import type { Rule } from '../rule.ts';
import { isEnterpriseImage, isKongImage, parseImage } from '../inputs/image.ts';
import type { Version } from '../deployment.ts';

/**
 * Ends of support, as of 26 November 2026. Enterprise: developer.konghq.com/konnect-platform/compatibility. Community: a
 * minor version ends with the next one (endoflife.date/kong-gateway); 3.9 is the newest of it, so it has no end here.
 */
const ENTERPRISE_ENDS: Readonly<Record<string, string>> = {
  '2.8': '2025-03-26',
  '3.0': '2023-09-09',
  '3.1': '2023-12-06',
  '3.2': '2024-02-28',
  '3.3': '2024-05-19',
  '3.4': '2026-08-31',
  '3.5': '2024-11-08',
  '3.6': '2025-02-12',
  '3.7': '2025-05-28',
  '3.8': '2025-09-11',
  '3.9': '2025-12-12',
  '3.10': '2028-03-31',
  '3.11': '2026-07-03',
  '3.12': '2026-10-01',
  '3.13': '2026-12-18',
  '3.14': '2029-04-07',
};
const COMMUNITY_ENDS: Readonly<Record<string, string>> = {
  '3.0': '2022-11-08',
  '3.1': '2023-02-28',
  '3.2': '2023-05-19',
  '3.3': '2023-08-09',
  '3.4': '2026-08-09',
  '3.5': '2024-02-09',
  '3.6': '2024-05-28',
  '3.7': '2024-09-09',
  '3.8': '2024-12-12',
};
const LONG_AGO = '2023-02-24';

/** Undefined: supported without a known end, or newer than the table. */
function endOfSupport(major: number, minor: number, isEnterprise: boolean): string | undefined {
  const known = (isEnterprise ? ENTERPRISE_ENDS : COMMUNITY_ENDS)[`${major}.${minor}`];
  if (known !== undefined) return known;
  if (major === 2 && minor === 8) return '2025-03-26';
  return major < 3 ? LONG_AGO : undefined;
}

export const rule: Rule = {
  id: 'R10-kong-unsupported',
  severity: 'high',
  title: 'Kong without security fixes',
  why: 'Known faults of this version stay open.',
  mend: 'Move to a version that is supported: docs/audit.md says which ones are known here, and of what date that is.',
  *find({ containers, versions, today }) {
    const images = containers.flatMap(({ image }): Version[] => {
      if (image?.text === undefined) return [];
      const parsed = parseImage(image.text);
      if (!isKongImage(parsed) || parsed.tag === undefined) return [];
      return [{ text: parsed.tag, isEnterprise: isEnterpriseImage(parsed), place: image.place }];
    });
    for (const { text, isEnterprise, place } of [...images, ...versions]) {
      const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(text) ?? [];
      if (major === undefined || minor === undefined) continue;
      const end = endOfSupport(Number(major), Number(minor), isEnterprise);
      if (end !== undefined && end < today.toISOString().slice(0, 10)) {
        yield { place, found: `Kong ${major}.${minor}, supported until ${end}` };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:2.8-alpine
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong/kong-gateway:3.4.3.1
    environment:
      KONG_ENFORCE_RBAC: 'on'
`,
        },
      },
    ],
    good: [
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong/kong-gateway:3.10
    environment:
      KONG_ENFORCE_RBAC: 'on'
`,
        },
      },
    ],
  },
};
