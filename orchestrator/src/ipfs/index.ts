export { createCarExporter, type CarExport, type CarExporter } from "./car-export.ts";
