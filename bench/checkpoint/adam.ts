// States of a real training, 100 steps apart: one linear layer learns another with Adam (Kingma and Ba, 2015) at a learning rate of 1e-4, every parameter
// moving at every step. The state is the weights with both moments in 32 bits, or the weights alone in bfloat16.
import { bfloats, generator, made, normal } from "./states.ts";

const LEARNING_RATE = 1e-4;
const [BETA_1, BETA_2, EPSILON] = [0.9, 0.999, 1e-8];
const BATCH = 4;
/** Both states are well after the beginning, where moments are small and change fast. */
const STEPS_BEFORE = 200;
const STEPS_BETWEEN = 100;
const NOISE = 0.1;

export interface AdamStates {
  readonly fp32: readonly [string, string];
  readonly bf16: readonly [string, string];
}

/** `width`: of the layer, which has its square of weights; a state in fp32 has 12 bytes for each of them. Made once. */
export function makeAdamStates(folder: string, width: number, progress: (text: string) => void): AdamStates {
  const path = (format: string, n: number) => `${folder}/adam-${format}-${width}-${n}`;
  let layer: Layer | undefined;
  const save = (n: number, steps: number) => {
    const trained = () => {
      layer ??= createLayer(width);
      while (layer.steps < steps) {
        if (layer.steps % 50 === 0) progress(`training ${width} × ${width} weights, step ${layer.steps} of ${steps}`);
        step(layer);
      }
      return layer;
    };
    const fp32 = made(path("fp32", n), (write) => {
      const { weights, first, second } = trained();
      for (const part of [weights, first, second]) write(new Uint8Array(part.buffer));
    });
    return { fp32, bf16: made(path("bf16", n), (write) => write(bfloats(trained().weights))) };
  };
  const before = save(1, STEPS_BEFORE);
  const after = save(2, STEPS_BEFORE + STEPS_BETWEEN);
  return { fp32: [before.fp32, after.fp32], bf16: [before.bf16, after.bf16] };
}

interface Layer {
  readonly width: number;
  readonly weights: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
  readonly target: Float32Array;
  readonly random: () => number;
  steps: number;
}

function createLayer(width: number): Layer {
  const random = generator(3);
  const count = width * width;
  const weights = Float32Array.from({ length: count }, () => normal(random));
  const target = weights.map((weight) => weight + normal(random));
  return { width, weights, target, first: new Float32Array(count), second: new Float32Array(count), random, steps: 0 };
}

/** Squared error of a small batch at random; its gradient by hand. */
function step(layer: Layer): void {
  const { width, weights, target, first, second, random } = layer;
  layer.steps += 1;
  const inputs = Array.from({ length: BATCH }, () => Float32Array.from({ length: width }, () => normal(random) * 50));
  const scale1 = 1 / (1 - BETA_1 ** layer.steps);
  const scale2 = 1 / (1 - BETA_2 ** layer.steps);
  const errors = new Float64Array(BATCH);
  for (let row = 0; row < width; row += 1) {
    const start = row * width;
    for (let n = 0; n < BATCH; n += 1) {
      const input = inputs[n] as Float32Array;
      let error = NOISE * normal(random);
      for (let at = 0; at < width; at += 1) {
        error += ((weights[start + at] ?? 0) - (target[start + at] ?? 0)) * (input[at] ?? 0);
      }
      errors[n] = error / BATCH;
    }
    for (let at = 0; at < width; at += 1) {
      let gradient = 0;
      for (let n = 0; n < BATCH; n += 1) gradient += (errors[n] ?? 0) * (inputs[n]?.[at] ?? 0);
      const place = start + at;
      const m = BETA_1 * (first[place] ?? 0) + (1 - BETA_1) * gradient;
      const v = BETA_2 * (second[place] ?? 0) + (1 - BETA_2) * gradient * gradient;
      first[place] = m;
      second[place] = v;
      weights[place] = (weights[place] ?? 0) - (LEARNING_RATE * m * scale1) / (Math.sqrt(v * scale2) + EPSILON);
    }
  }
}
