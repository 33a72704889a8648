/** The file store does what every store must. */
import { storeConformance } from './conformance.ts';
import { openFileFixture } from './file-fixture.ts';

storeConformance('the file store', () => openFileFixture());
