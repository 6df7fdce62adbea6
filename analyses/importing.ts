/** Importing modules by address: a bundle cannot do it by itself (node:vm), so what runs the bundle gives it its own `import`. */
type Import = (address: string) => Promise<unknown>;

let given: Import | undefined;

/** Says that this is a bundle, and how it imports modules. */
export function importBy(importer: Import): void {
  given = importer;
}

/** Whether all of grind's modules are in a bundle, so that nothing else has part in them. */
export const isBundle = (): boolean => given !== undefined;

/** What the module at this URL exports. Rejects as `import` does. */
export const importModule: Import = (address) => (given ? given(address) : import(address));
