// What GPUs of a model can do, by their makers' public figures. Only to ask for a fitting amount of work and to bound the time it may take:
// a model that is not here is asked for less, and bound by a floor that any GPU of the last ten years reaches.

export interface GpuClass {
  readonly name: string;
  /** GB (10⁹ bytes) a second to and from its memory. */
  readonly bandwidthGBps: number;
  /** 10¹² single-precision operations a second. */
  readonly fp32Tflops: number;
}

/** Slower than a GTX 1050 or a small partition of a data-centre card. */
export const FLOOR_CLASS: GpuClass = { name: "any GPU", bandwidthGBps: 50, fp32Tflops: 1 };

/** The part of the model's name, memory bandwidth, single precision. The first that matches counts: longer names stand before shorter ones. */
const TABLE: readonly (readonly [RegExp, number, number])[] = [
  // Data centre
  [/\bGB?300\b|\bB300\b/, 8000, 70],
  [/\bGB?200\b|\bB200\b/, 8000, 70],
  [/\bB100\b/, 8000, 60],
  [/\bGH200\b/, 4000, 60],
  [/\bH200\b/, 4800, 60],
  [/\bH100 NVL\b/, 3900, 60],
  [/\bH100 PCIe\b/, 2000, 48],
  [/\bH100\b/, 2000, 48],
  [/\bH800\b/, 2000, 48],
  [/\bH20\b/, 4000, 39],
  [/\bA100\b.*80GB/, 1935, 19.5],
  [/\bA100\b/, 1555, 19.5],
  [/\bA800\b/, 1555, 19.5],
  [/\bA30\b/, 933, 10.3],
  [/\bA40\b/, 696, 37],
  [/\bA10G\b/, 600, 31],
  [/\bA10\b/, 600, 31],
  [/\bA16\b/, 200, 4.5],
  [/\bA2\b/, 200, 4.5],
  [/\bL40S?\b/, 864, 90],
  [/\bL20\b/, 864, 59],
  [/\bL4\b/, 300, 30],
  [/\bL2\b/, 300, 24],
  [/\bT4G?\b/, 320, 8.1],
  [/\bV100\b/, 897, 14],
  [/\bP100\b.*12GB/, 549, 9.3],
  [/\bP100\b/, 732, 9.3],
  [/\bP40\b/, 347, 11.8],
  [/\bP4\b/, 192, 5.5],
  // Workstation
  [/\bRTX PRO 6000 Blackwell\b/, 1597, 110],
  [/\bRTX PRO 5000 Blackwell\b/, 1344, 65],
  [/\bRTX PRO 4500 Blackwell\b/, 896, 45],
  [/\bRTX PRO 4000 Blackwell\b/, 432, 24],
  [/\bRTX 6000 Ada\b/, 960, 91],
  [/\bRTX 5880 Ada\b/, 864, 69],
  [/\bRTX 5000 Ada\b/, 576, 65],
  [/\bRTX 4500 Ada\b/, 432, 40],
  [/\bRTX 4000 (SFF )?Ada\b/, 280, 19],
  [/\bRTX 2000 Ada\b/, 224, 12],
  [/\bRTX A6000\b/, 768, 38],
  [/\bRTX A5500\b/, 768, 34],
  [/\bRTX A5000\b/, 768, 27],
  [/\bRTX A4500\b/, 640, 23],
  [/\bRTX A4000\b/, 448, 19],
  [/\bRTX A2000\b/, 288, 8],
  [/\bQuadro RTX [68]000\b/, 624, 16],
  [/\bQuadro RTX 5000\b/, 448, 11],
  [/\bQuadro RTX 4000\b/, 416, 7],
  // Consumer
  [/\bRTX 5090 D\b/, 1344, 100],
  [/\bRTX 5090\b/, 1792, 104],
  [/\bRTX 5080\b/, 960, 56],
  [/\bRTX 5070 Ti\b/, 896, 43],
  [/\bRTX 5070\b/, 672, 30],
  [/\bRTX 5060 Ti\b/, 448, 23],
  [/\bRTX 5060\b/, 448, 19],
  [/\bRTX 5050\b/, 320, 13],
  [/\bRTX 4090\b/, 1008, 73],
  [/\bRTX 4080\b/, 716, 48],
  [/\bRTX 4070 Ti SUPER\b/, 672, 44],
  [/\bRTX 4070\b/, 432, 29],
  [/\bRTX 4060 Ti\b/, 288, 22],
  [/\bRTX 4060\b/, 272, 15],
  [/\bRTX 3090\b/, 936, 35],
  [/\bRTX 3080 Ti\b/, 912, 34],
  [/\bRTX 3080\b/, 760, 29],
  [/\bRTX 3070 Ti\b/, 608, 21],
  [/\bRTX 3070\b/, 448, 20],
  [/\bRTX 3060 Ti\b/, 448, 16],
  [/\bRTX 3060\b/, 240, 12],
  [/\bRTX 3050\b/, 168, 6.7],
  [/\bTITAN RTX\b/, 672, 16],
  [/\bRTX 2080 Ti\b/, 616, 13],
  [/\bRTX 2080\b/, 448, 10],
  [/\bRTX 2070\b/, 448, 7.5],
  [/\bRTX 2060\b/, 264, 6.4],
  [/\bGTX 1660\b/, 192, 5],
  [/\bGTX 1650\b/, 128, 2.9],
  [/\bGTX 1080 Ti\b/, 484, 11],
  [/\bGTX 1080\b/, 320, 8.8],
  [/\bGTX 1070\b/, 256, 6.4],
  [/\bGTX 1060\b/, 160, 3.8],
  [/\bGTX 1050\b/, 84, 1.8],
];

/** A laptop's card has the name of a larger one; a partition has a share of its card: neither is bound by that card's figures. */
const LESS_THAN_ITS_NAME = /\b(Laptop|Mobile|Max-Q|MIG|GRID|vGPU)\b/i;

/** The class of a model, by its name; undefined for one that is not known, which is no reason to refuse it. */
export function gpuClassOf(model: string): GpuClass | undefined {
  if (LESS_THAN_ITS_NAME.test(model)) return undefined;
  const found = TABLE.find(([name]) => name.test(model));
  return found === undefined ? undefined : { name: model, bandwidthGBps: found[1], fp32Tflops: found[2] };
}
