// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/**
 * Holds what consumers lock for jobs and what providers put at stake, in one ERC-20 token.
 *
 * The operator (an orchestrator) says who is owed how much of a job's escrow; he can pay no more than it holds, and only once. What he does not pay out
 * goes back to the payer; when he says nothing until the deadline, anyone may send all of it back. Stakes are taken only by a proposal that names its
 * evidence and that its provider could appeal to the arbiter. Nothing is pushed: what is owed is credited, and withdrawn by its owner, or for him.
 */
contract QubixEscrow is AccessControl, ReentrancyGuard {
    using SafeERC20 for IERC20;

    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");
    bytes32 public constant ARBITER_ROLE = keccak256("ARBITER_ROLE");
    /// Payees of one settlement: bounds its gas.
    uint256 public constant PAYEES_MAX = 8;
    /// An arbiter who says nothing for so long after the deadline, or after the time for an appeal, loses his say: money is never locked for ever.
    uint64 public constant DISPUTE_S_MAX = 30 days;
    /// Between a proposal to slash and its execution.
    uint64 public constant APPEAL_S = 7 days;
    /// Between asking for a stake and having it: longer than an appeal, so that nobody takes it out from under one.
    uint64 public constant UNSTAKE_S = 14 days;

    enum Status {
        None,
        Held,
        Disputed,
        Settled,
        Refunded
    }

    struct Escrow {
        address payer;
        uint64 deadline;
        Status status;
        uint128 amount;
        /// To payees, the fee's among them; the rest went back.
        uint128 paid;
    }

    struct Stake {
        uint128 amount;
        /// Of that, under proposals to slash.
        uint128 locked;
        /// Of that, asked back.
        uint128 leaving;
        uint64 leavingFrom;
    }

    enum SlashStatus {
        None,
        Proposed,
        Appealed,
        Executed,
        Dismissed
    }

    struct Slash {
        address provider;
        uint64 executableFrom;
        SlashStatus status;
        uint128 amount;
        bytes32 evidence;
    }

    IERC20 public immutable TOKEN;
    /// Credited with what is slashed.
    address public immutable SLASH_POOL;

    mapping(bytes32 jobId => Escrow) public escrows;
    mapping(address provider => Stake) public stakes;
    mapping(bytes32 slashId => Slash) public slashes;
    /// Credited, and not withdrawn yet.
    mapping(address owner => uint256) public payable_;

    event Deposited(bytes32 indexed jobId, address indexed payer, uint256 amount, uint64 deadline);
    event ToppedUp(bytes32 indexed jobId, uint256 amount, uint64 deadline);
    event Settled(bytes32 indexed jobId, address[] payees, uint256[] amounts, uint256 refund);
    event Refunded(bytes32 indexed jobId, uint256 amount);
    event Disputed(bytes32 indexed jobId, address by);
    event Staked(address indexed provider, uint256 amount);
    event UnstakeRequested(address indexed provider, uint256 amount, uint64 from);
    event Unstaked(address indexed provider, uint256 amount);
    event SlashProposed(bytes32 indexed slashId, address indexed provider, uint256 amount, bytes32 evidence);
    event SlashAppealed(bytes32 indexed slashId);
    event SlashEnded(bytes32 indexed slashId, bool executed);
    event Withdrawn(address indexed owner, uint256 amount);

    error WrongStatus();
    error NotTheirs();
    error TooEarly();
    error TooLate();
    error WrongAmount();
    error WrongPayees();

    constructor(IERC20 token, address admin, address operator, address arbiter, address slashPool) {
        TOKEN = token;
        SLASH_POOL = slashPool;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(OPERATOR_ROLE, operator);
        _grantRole(ARBITER_ROLE, arbiter);
    }

    // ── A job's money ──

    /// Locks `amount` for a job that nobody has paid for yet. After `deadline` (seconds) anyone may send back what is not settled.
    function deposit(bytes32 jobId, uint128 amount, uint64 deadline) external nonReentrant {
        if (escrows[jobId].status != Status.None) revert WrongStatus();
        if (deadline <= block.timestamp) revert TooLate();
        escrows[jobId] = Escrow(msg.sender, deadline, Status.Held, amount, 0);
        _pull(amount);
        emit Deposited(jobId, msg.sender, amount, deadline);
    }

    /// Adds to what is held; the deadline may only move away.
    function topUp(bytes32 jobId, uint128 amount, uint64 deadline) external nonReentrant {
        Escrow storage escrow = escrows[jobId];
        if (escrow.status != Status.Held) revert WrongStatus();
        if (escrow.payer != msg.sender) revert NotTheirs();
        if (deadline < escrow.deadline || deadline <= block.timestamp) revert TooLate();
        escrow.amount += amount;
        escrow.deadline = deadline;
        _pull(amount);
        emit ToppedUp(jobId, amount, deadline);
    }

    /// Pays the payees of a job and sends the rest back. Once.
    function settle(bytes32 jobId, address[] calldata payees, uint256[] calldata amounts) external onlyRole(OPERATOR_ROLE) {
        if (escrows[jobId].status != Status.Held) revert WrongStatus();
        _settle(jobId, payees, amounts);
    }

    /// Sends all of it back: the operator at any time, anyone once the deadline has passed.
    function refund(bytes32 jobId) external {
        Escrow storage escrow = escrows[jobId];
        uint64 from = escrow.deadline;
        if (escrow.status == Status.Disputed) from += DISPUTE_S_MAX;
        else if (escrow.status != Status.Held) revert WrongStatus();
        bool early = escrow.status == Status.Held && hasRole(OPERATOR_ROLE, msg.sender);
        if (!early && block.timestamp < from) revert TooEarly();
        escrow.status = Status.Refunded;
        payable_[escrow.payer] += escrow.amount;
        emit Refunded(jobId, escrow.amount);
    }

    /// Freezes what is held until the arbiter has spoken.
    function dispute(bytes32 jobId) external {
        Escrow storage escrow = escrows[jobId];
        if (escrow.status != Status.Held) revert WrongStatus();
        if (escrow.payer != msg.sender && !hasRole(OPERATOR_ROLE, msg.sender)) revert NotTheirs();
        escrow.status = Status.Disputed;
        emit Disputed(jobId, msg.sender);
    }

    /// The arbiter's word on a disputed job.
    function resolve(bytes32 jobId, address[] calldata payees, uint256[] calldata amounts) external onlyRole(ARBITER_ROLE) {
        if (escrows[jobId].status != Status.Disputed) revert WrongStatus();
        _settle(jobId, payees, amounts);
    }

    // ── Stakes ──

    function stake(uint128 amount) external nonReentrant {
        stakes[msg.sender].amount += amount;
        _pull(amount);
        emit Staked(msg.sender, amount);
    }

    /// Asks for a part of the stake; asking again begins the wait anew.
    function requestUnstake(uint128 amount) external {
        Stake storage held = stakes[msg.sender];
        if (amount == 0 || amount > held.amount - held.leaving) revert WrongAmount();
        held.leaving += amount;
        held.leavingFrom = uint64(block.timestamp) + UNSTAKE_S;
        emit UnstakeRequested(msg.sender, amount, held.leavingFrom);
    }

    /// Credits what was asked for, as far as no proposal to slash holds it.
    function unstake() external {
        Stake storage held = stakes[msg.sender];
        if (held.leaving == 0) revert WrongAmount();
        if (block.timestamp < held.leavingFrom) revert TooEarly();
        uint128 free = held.amount - held.locked;
        uint128 amount = held.leaving < free ? held.leaving : free;
        if (amount == 0) revert WrongAmount();
        held.amount -= amount;
        held.leaving -= amount;
        payable_[msg.sender] += amount;
        emit Unstaked(msg.sender, amount);
    }

    /// `evidence`: hash of what shows the fault. Its amount is locked until this has ended.
    function proposeSlash(bytes32 slashId, address provider, uint128 amount, bytes32 evidence) external onlyRole(OPERATOR_ROLE) {
        if (slashes[slashId].status != SlashStatus.None) revert WrongStatus();
        Stake storage held = stakes[provider];
        if (amount == 0 || evidence == bytes32(0) || amount > held.amount - held.locked) revert WrongAmount();
        held.locked += amount;
        slashes[slashId] = Slash(provider, uint64(block.timestamp) + APPEAL_S, SlashStatus.Proposed, amount, evidence);
        emit SlashProposed(slashId, provider, amount, evidence);
    }

    /// The provider disagrees: only the arbiter can end it then.
    function appeal(bytes32 slashId) external {
        Slash storage slash = slashes[slashId];
        if (slash.status != SlashStatus.Proposed) revert WrongStatus();
        if (slash.provider != msg.sender) revert NotTheirs();
        if (block.timestamp >= slash.executableFrom) revert TooLate();
        slash.status = SlashStatus.Appealed;
        emit SlashAppealed(slashId);
    }

    /// Nobody appealed in time: anyone may carry it out.
    function executeSlash(bytes32 slashId) external {
        Slash storage slash = slashes[slashId];
        if (slash.status != SlashStatus.Proposed) revert WrongStatus();
        if (block.timestamp < slash.executableFrom) revert TooEarly();
        _endSlash(slashId, true);
    }

    /// The arbiter's word on an appeal.
    function resolveSlash(bytes32 slashId, bool execute) external onlyRole(ARBITER_ROLE) {
        if (slashes[slashId].status != SlashStatus.Appealed) revert WrongStatus();
        _endSlash(slashId, execute);
    }

    /// The arbiter has not spoken on an appeal for too long: anyone may end it, and nothing is taken.
    function dropSlash(bytes32 slashId) external {
        Slash storage slash = slashes[slashId];
        if (slash.status != SlashStatus.Appealed) revert WrongStatus();
        if (block.timestamp < slash.executableFrom + DISPUTE_S_MAX) revert TooEarly();
        _endSlash(slashId, false);
    }

    // ── What is owed ──

    /// Sends an owner what is credited to him; anyone may pay for that.
    function payOut(address owner) external nonReentrant {
        uint256 amount = payable_[owner];
        if (amount == 0) revert WrongAmount();
        payable_[owner] = 0;
        TOKEN.safeTransfer(owner, amount);
        emit Withdrawn(owner, amount);
    }

    // ── Helpers ──

    function _settle(bytes32 jobId, address[] calldata payees, uint256[] calldata amounts) private {
        uint256 count = payees.length;
        if (count > PAYEES_MAX || count != amounts.length) revert WrongPayees();
        Escrow storage escrow = escrows[jobId];
        uint256 paid = 0;
        for (uint256 n = 0; n < count; n++) {
            if (payees[n] == address(0)) revert WrongPayees();
            paid += amounts[n];
            payable_[payees[n]] += amounts[n];
        }
        uint256 amount = escrow.amount;
        if (paid > amount) revert WrongAmount();
        escrow.status = Status.Settled;
        escrow.paid = uint128(paid);
        if (paid < amount) payable_[escrow.payer] += amount - paid;
        emit Settled(jobId, payees, amounts, amount - paid);
    }

    function _endSlash(bytes32 slashId, bool execute) private {
        Slash storage slash = slashes[slashId];
        Stake storage held = stakes[slash.provider];
        uint128 amount = slash.amount;
        held.locked -= amount;
        slash.status = execute ? SlashStatus.Executed : SlashStatus.Dismissed;
        if (execute) {
            held.amount -= amount;
            if (held.leaving > held.amount) held.leaving = held.amount;
            payable_[SLASH_POOL] += amount;
        }
        emit SlashEnded(slashId, execute);
    }

    /// Takes exactly `amount` of the caller: a token that keeps a part of it is refused, because what is held would not be there.
    function _pull(uint256 amount) private {
        if (amount == 0) revert WrongAmount();
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        if (TOKEN.balanceOf(address(this)) - before != amount) revert WrongAmount();
    }
}
