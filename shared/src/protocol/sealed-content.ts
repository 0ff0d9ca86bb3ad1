// What of a specification is kept sealed: the content of secrets, and the credentials of a private registry. Split off where a job comes in, it is
// in no record, event, log or view; names are not secret.
import { z } from "zod";
import type { JobSpec } from "./job-spec.ts";

export const registryAuthSchema = z.strictObject({ username: z.string(), password: z.string() });
export type RegistryAuth = z.output<typeof registryAuthSchema>;

/** What is in a box, as JSON. */
export const sealedContentSchema = z.strictObject({
  /** By the name of the file under /run/secrets. */
  secrets: z.record(z.string(), z.string()).optional(),
  registryAuth: registryAuthSchema.optional(),
});
export type SealedContent = z.output<typeof sealedContentSchema>;

/** Stands in a record where the content was. */
const TAKEN = "";
/** Stands there for people: a specification that is shown is still one, e.g. for a quote. A job is not made of it. */
export const SEALED_SHOWN = "[sealed]";

/** The specification without what is to be kept sealed, and that; `null` where there is nothing of the kind. */
export function takeSealed(spec: JobSpec): { readonly spec: JobSpec; readonly content: SealedContent | null } {
  const { secrets, registryAuth } = spec;
  const names = Object.keys(secrets);
  if (names.length === 0 && registryAuth === undefined) return { spec, content: null };
  return {
    spec: replaceSealed(spec, TAKEN),
    content: { ...(names.length === 0 ? {} : { secrets }), ...(registryAuth === undefined ? {} : { registryAuth }) },
  };
}

/** The specification as it may be shown. */
export function showSealed(spec: JobSpec): JobSpec {
  return replaceSealed(spec, SEALED_SHOWN);
}

/** The names of secrets whose content is only what a view showed. */
export function shownAsSealed({ secrets, registryAuth }: JobSpec): readonly string[] {
  const names = Object.keys(secrets).filter((name) => secrets[name] === SEALED_SHOWN);
  return registryAuth?.password === SEALED_SHOWN ? [...names, "registryAuth"] : names;
}

function replaceSealed(spec: JobSpec, text: string): JobSpec {
  const { secrets, registryAuth } = spec;
  return {
    ...spec,
    secrets: Object.fromEntries(Object.keys(secrets).map((name) => [name, text])),
    ...(registryAuth === undefined ? {} : { registryAuth: { username: text, password: text } }),
  };
}

/** Whether a specification still holds what belongs into the vault. */
export function holdsSealed({ secrets, registryAuth }: JobSpec): boolean {
  if (Object.values(secrets).some((value) => value !== TAKEN)) return true;
  return registryAuth !== undefined && (registryAuth.username !== TAKEN || registryAuth.password !== TAKEN);
}
