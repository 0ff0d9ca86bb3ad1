export { createDelivery, type Delivery } from "./delivery.ts";
export { type ConsumerKeys, type KeyRing, needKeyRing, openKeyRing } from "./key-ring.ts";
export { openKeys, rotateKeys, type Rotation } from "./keys.ts";
export { createTextHash, masterKeyFile, openMasterKey } from "./master-key.ts";
export { openVault, type Vault } from "./vault.ts";
