// For the EVM node of the tests alone: contracts are compiled by `solc` itself.
export default { networks: { default: { type: "edr-simulated", chainId: 31_337 } } };
