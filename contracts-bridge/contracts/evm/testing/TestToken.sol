// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A token for tests: anyone may mint, and it may be told to keep a part of each transfer.
contract TestToken is ERC20 {
    uint256 public keeps;

    constructor() ERC20("Test", "TEST") {}

    function mint(address[] calldata to, uint256 amount) external {
        for (uint256 n = 0; n < to.length; n++) _mint(to[n], amount);
    }

    /// Everybody may take everybody's: approvals are the token's affair, not the escrow's.
    function allowance(address, address) public pure override returns (uint256) {
        return type(uint256).max;
    }

    function keep(uint256 amount) external {
        keeps = amount;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (keeps > 0 && from != address(0) && to != address(0)) super._update(to, address(0), keeps);
    }
}
