import type { Rule } from '../rule.ts';
import { isKongImage, parseImage } from '../inputs/image.ts';

export const rule: Rule = {
  id: 'R10-kong-unpinned',
  severity: 'medium',
  title: 'Image of Kong without a version',
  why: 'What runs changes with every pull, unseen and untested, and nobody can say which faults it has.',
  mend: 'Name a version, better a digest, and raise it on purpose.',
  *find({ containers }) {
    for (const { image } of containers) {
      if (image?.text === undefined) continue;
      const parsed = parseImage(image.text);
      if (!isKongImage(parsed) || parsed.isDigest) continue;
      if (parsed.tag === undefined || !/\d/.test(parsed.tag)) yield { place: image.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:latest
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: \${KONG_IMAGE:-kong:alpine}
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
    image: kong@sha256:0000
`,
        },
      },
    ],
  },
};
