// A stand-in for the `nvidia-smi` program: an executable that prints what a test puts into its folder, once or again and again, as the real one does.
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const FIXTURES = join(import.meta.dirname, "fixtures");

/** Prints the file that belongs to its arguments. `fails` comes first: what is said instead, with exit code 15. `hang`: never answers. */
const PROGRAM = `#!/bin/sh
here=$(dirname "$0")/smi
loop=0; what=report; one=
echo "$*" >> "$here/calls"
while [ $# -gt 0 ]; do
  case $1 in
    -l) loop=$2; shift ;;
    -L) what=list ;;
    -i) one=$2; shift ;;
    --query-gpu=uuid,compute_cap) what=capabilities ;;
    --query-gpu=index,*) what=pulse ;;
    --query-gpu=*) what=cards ;;
  esac
  shift
done
say() {
  if [ -e "$here/hang" ]; then exec sleep 600; fi
  if [ -n "$one" ] && [ -e "$here/one-$one" ]; then cat "$here/one-$one"; return 0; fi
  if [ -e "$here/fails" ]; then cat "$here/fails"; return 15; fi
  if [ -n "$one" ] || [ ! -e "$here/$what" ]; then echo "No devices were found"; return 6; fi
  cat "$here/$what"
}
if [ "$loop" = 0 ] || [ -e "$here/once" ]; then say; exit $?; fi
while :; do say; sleep "$loop"; done
`;

export interface FakeSmi {
  /** The folder to put first on a PATH. */
  readonly directory: string;
  readonly path: string;
  /** What is printed for each question: `report` (-q -x), `pulse`, `cards`, `capabilities`, `list` (-L), `one-ID` (-q -x -i ID), `fails`, `hang`, `once`. Null takes it away. */
  set(answers: Readonly<Record<string, string | null>>): Promise<void>;
  calls(): Promise<readonly string[]>;
}

export async function createFakeSmi(directory: string): Promise<FakeSmi> {
  const answers = join(directory, "smi");
  const path = join(directory, "nvidia-smi");
  await mkdir(answers, { recursive: true });
  await writeFile(path, PROGRAM);
  await chmod(path, 0o755);
  // Where there are cards there is what hands them to containers.
  const hook = join(directory, "nvidia-container-runtime-hook");
  await writeFile(hook, "#!/bin/sh\necho NVIDIA Container Runtime Hook version 1.17.8\n");
  await chmod(hook, 0o755);
  return {
    directory,
    path,
    async set(changed) {
      for (const [name, text] of Object.entries(changed)) {
        if (text === null) await rm(join(answers, name), { force: true });
        else {
          await writeFile(join(answers, `.${name}`), text);
          await rename(join(answers, `.${name}`), join(answers, name));
        }
      }
    },
    async calls() {
      const text = await readFile(join(answers, "calls"), "utf8").catch(() => "");
      return text.split("\n").filter((line) => line !== "");
    },
  };
}

export function readFixture(name: string): Promise<string> {
  return readFile(join(FIXTURES, name), "utf8");
}
