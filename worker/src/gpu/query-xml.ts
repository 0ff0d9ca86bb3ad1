// What `nvidia-smi -q -x` tells, of every driver that still runs (document types v10 to v13). Names of elements differ between them, and whatever
// a card cannot say reads "N/A", "[N/A]", "Not Supported", "Unknown Error", "Requested functionality has been deprecated", …: then it is left out.
import type { Gpu } from "@qubix/shared/protocol";
import type { GpuCard, GpuNow, GpuPartition, GpuProcess, GpuTrouble } from "./cards.ts";
import { childAt, childrenOf, readXml, type XmlElement } from "./xml.ts";

/** A partition whose UUID the document does not name: it must be joined from `nvidia-smi -L`. */
export interface NamelessPartition extends Omit<GpuPartition, "uuid"> {
  readonly uuid?: string | undefined;
  /** Its number among the card's partitions. */
  readonly index: number;
}

export interface XmlCard extends Omit<GpuCard, "partitions"> {
  readonly partitions: readonly NamelessPartition[];
}

export interface XmlReport {
  readonly cards: readonly XmlCard[];
  readonly troubles: readonly GpuTrouble[];
}

const UUID = /^(GPU|MIG)-[0-9A-Za-z/-]+$/;
/** What stands in the place of a value when a card itself is the trouble. */
const IN_TROUBLE = /is lost|requires reset|unknown error|fallen off|^err!$/i;
/** What newer drivers want done before a card can be used again (`gpu_recovery_action`). */
const RECOVERY = /reset|reboot/i;
const MODEL_LENGTH_MAX = 100;
const NAME_LENGTH_MAX = 200;

/** Undefined for what is not such a document. A card that cannot be named is a trouble, never silently left out. */
export function readReport(text: string): XmlReport | undefined {
  const log = readXml(text, "nvidia_smi_log");
  if (log === undefined) return undefined;
  const cards: XmlCard[] = [];
  const troubles: GpuTrouble[] = [];
  for (const element of childrenOf(log, "gpu")) {
    const trouble = troubleOf(element);
    if (trouble === undefined) cards.push(cardOf(log, element));
    else troubles.push(trouble);
  }
  return { cards, troubles };
}

function troubleOf(element: XmlElement): GpuTrouble | undefined {
  const raw = [["uuid"], ["product_name"], ["fb_memory_usage", "total"], ["pci", "pci_bus_id"]].map(
    (path) => childAt(element, ...path)?.text ?? "",
  );
  const said = raw.find((text) => IN_TROUBLE.test(text));
  const recovery = childAt(element, "gpu_recovery_action")?.text ?? "";
  const uuid = uuidOf(element);
  const model = modelOf(element);
  const nameless = uuid === undefined || model === undefined ? "The driver does not name it." : undefined;
  const message = said ?? (RECOVERY.test(recovery) ? `It needs a recovery: ${recovery}` : nameless);
  return message === undefined ? undefined : { busId: busOf(element), uuid, model, message };
}

function cardOf(log: XmlElement, element: XmlElement): XmlCard {
  const mig = valueAt(element, "mig_mode", "current_mig");
  return {
    gpu: gpuOf(log, element),
    busId: busOf(element),
    isPartitioned: mig?.toLowerCase() === "enabled",
    partitions: partitionsOf(element),
    now: nowOf(element),
    processes: processesOf(element),
  };
}

function gpuOf(log: XmlElement, element: XmlElement): Gpu {
  const driverVersion = valueAt(log, "driver_version") ?? valueAt(log, "kmd_version");
  const cudaVersion = valueAt(log, "cuda_version") ?? valueAt(log, "cuda_umd_version");
  const pcie = pcieOf(element);
  const powerLimitW = powerLimitOf(element);
  const ecc = valueAt(element, "ecc_mode", "current_ecc")?.toLowerCase();
  return {
    uuid: uuidOf(element) ?? "",
    model: modelOf(element) ?? "",
    memoryMiB: Math.round(numberAt(element, "fb_memory_usage", "total") ?? 0),
    ...(driverVersion === undefined ? {} : { driverVersion: driverVersion.slice(0, 50) }),
    ...(cudaVersion === undefined ? {} : { cudaVersion: cudaVersion.slice(0, 20) }),
    ...(pcie === undefined ? {} : { pcie }),
    ...(powerLimitW === undefined ? {} : { powerLimitW: Math.round(powerLimitW) }),
    ...(ecc === "enabled" || ecc === "disabled" ? { ecc: ecc === "enabled" } : {}),
  };
}

/** The generation that card and slot can do (an idle card runs a lower one), and the lanes that are connected. */
function pcieOf(element: XmlElement): Gpu["pcie"] {
  const link = childAt(element, "pci", "pci_gpu_link_info");
  if (link === undefined) return undefined;
  const generation = numberAt(link, "pcie_gen", "max_link_gen") ?? numberAt(link, "pcie_gen", "current_link_gen");
  const lanes = numberAt(link, "link_widths", "current_link_width") ?? numberAt(link, "link_widths", "max_link_width");
  if (generation === undefined || lanes === undefined || generation < 1 || lanes < 1) return undefined;
  return { generation: Math.trunc(generation), lanes: Math.trunc(lanes) };
}

function powerLimitOf(element: XmlElement): number | undefined {
  return (
    numberAt(element, "gpu_power_readings", "current_power_limit") ??
    numberAt(element, "gpu_power_readings", "power_limit") ??
    numberAt(element, "power_readings", "enforced_power_limit") ??
    numberAt(element, "power_readings", "power_limit")
  );
}

function nowOf(element: XmlElement): GpuNow {
  return {
    gpuPercent: numberAt(element, "utilization", "gpu_util"),
    memoryUsedMiB: numberAt(element, "fb_memory_usage", "used"),
    temperatureC: numberAt(element, "temperature", "gpu_temp"),
    powerW:
      numberAt(element, "gpu_power_readings", "instant_power_draw") ??
      numberAt(element, "gpu_power_readings", "average_power_draw") ??
      numberAt(element, "gpu_power_readings", "power_draw") ??
      numberAt(element, "power_readings", "power_draw"),
    graphicsMHz: numberAt(element, "clocks", "graphics_clock"),
    memoryMHz: numberAt(element, "clocks", "mem_clock"),
  };
}

function partitionsOf(element: XmlElement): readonly NamelessPartition[] {
  return childrenOf(childAt(element, "mig_devices"), "mig_device").map((device, place) => ({
    uuid: uuidOf(device),
    index: numberAt(device, "index") ?? place,
    gpuInstance: numberAt(device, "gpu_instance_id") ?? -1,
    memoryMiB: Math.round(numberAt(device, "fb_memory_usage", "total") ?? 0),
  }));
}

function processesOf(element: XmlElement): readonly GpuProcess[] {
  return childrenOf(childAt(element, "processes"), "process_info").flatMap((info) => {
    const pid = numberAt(info, "pid");
    if (pid === undefined) return [];
    const type = valueAt(info, "type");
    return {
      pid,
      kind: type === "G" || type === "C+G" ? type : "C",
      name: (valueAt(info, "process_name") ?? "").slice(0, NAME_LENGTH_MAX),
      memoryMiB: numberAt(info, "used_memory"),
      gpuInstance: numberAt(info, "gpu_instance_id"),
    };
  });
}

function uuidOf(element: XmlElement): string | undefined {
  const uuid = valueAt(element, "uuid");
  return uuid !== undefined && UUID.test(uuid) ? uuid : undefined;
}

function busOf(element: XmlElement): string | undefined {
  return element.attributes.get("id") ?? valueAt(element, "pci", "pci_bus_id");
}

function modelOf(element: XmlElement): string | undefined {
  return plainModel(valueAt(element, "product_name"));
}

/** As people say it: without the maker. */
export function plainModel(name: string | undefined): string | undefined {
  return name?.replace(/^NVIDIA /, "").slice(0, MODEL_LENGTH_MAX);
}

/** The text, where it is a value. */
function valueAt(element: XmlElement, ...path: readonly string[]): string | undefined {
  return knownValue(childAt(element, ...path)?.text ?? "");
}

/** `24564 MiB`, `16x`, `38 C`, `450.00 W` → the number; undefined for what is none. */
function numberAt(element: XmlElement, ...path: readonly string[]): number | undefined {
  const found = /^(-?\d+(?:\.\d+)?)(?:\s*[A-Za-z%/]+)?$/.exec(valueAt(element, ...path) ?? "");
  return found === null ? undefined : Number(found[1]);
}

const NO_VALUE =
  /^$|^\[.*\]$|^n\/?a$|not supported|not available|unknown error|functionality has been deprecated|insufficient permissions|is lost|requires reset|^err!$/i;

/** A field's text; undefined where the driver says in one of its many ways that there is no value. */
export function knownValue(text: string): string | undefined {
  return NO_VALUE.test(text) ? undefined : text;
}
