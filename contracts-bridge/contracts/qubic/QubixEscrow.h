// Holds what consumers lock for jobs and what providers put at stake, in qu, on Qubic: the counterpart of contracts/evm/QubixEscrow.sol. Written for QPI:
// no pointers, no stack variables, no division, no strings or brackets. A procedure answers nothing: whoever calls reads the state afterwards. Money that
// comes with a call that is refused goes back at once.
using namespace QPI;

// Ticks are about a second. Escrows and slashes that have ended are kept until the end of the next epoch, so that their outcome can be read.
constexpr uint64 QUBIX_ESCROWS_MAX = 4096;
constexpr uint64 QUBIX_STAKES_MAX = 2048;
constexpr uint64 QUBIX_SLASHES_MAX = 1024;
// Of them, what others than the operator may take: nobody keeps the operator out by deposits of one qu.
constexpr uint64 QUBIX_ESCROWS_OPEN = 2048;
constexpr uint32 QUBIX_DISPUTE_TICKS_MAX = 2592000;
constexpr uint32 QUBIX_APPEAL_TICKS = 604800;
constexpr uint32 QUBIX_UNSTAKE_TICKS = 1209600;

constexpr uint8 QUBIX_HELD = 1;
constexpr uint8 QUBIX_DISPUTED = 2;
constexpr uint8 QUBIX_SETTLED = 3;
constexpr uint8 QUBIX_REFUNDED = 4;
constexpr uint8 QUBIX_PROPOSED = 1;
constexpr uint8 QUBIX_APPEALED = 2;
constexpr uint8 QUBIX_EXECUTED = 3;
constexpr uint8 QUBIX_DISMISSED = 4;

struct QUBIXESCROW2
{
};

struct QUBIXESCROW : public ContractBase
{
public:
    struct EscrowRow
    {
        id payer;
        sint64 amount;
        sint64 paid;
        uint32 deadline;
        uint16 endedEpoch;
        uint8 status;
    };

    struct StakeRow
    {
        sint64 amount;
        sint64 locked;
        sint64 leaving;
        uint32 leavingFrom;
    };

    struct SlashRow
    {
        id provider;
        id evidence;
        sint64 amount;
        uint32 executableFrom;
        uint16 endedEpoch;
        uint8 status;
    };

    // At most four payees: unused ones have the amount 0.
    struct Shares
    {
        id payee0;
        id payee1;
        id payee2;
        id payee3;
        sint64 amount0;
        sint64 amount1;
        sint64 amount2;
        sint64 amount3;
    };

    struct Job_input
    {
        id job;
        uint32 deadline;
    };
    struct Empty_output
    {
    };
    typedef Job_input Deposit_input;
    typedef Empty_output Deposit_output;
    typedef Job_input TopUp_input;
    typedef Empty_output TopUp_output;
    typedef Job_input Refund_input;
    typedef Empty_output Refund_output;
    typedef Job_input Dispute_input;
    typedef Empty_output Dispute_output;

    struct Settle_input
    {
        id job;
        Shares shares;
    };
    typedef Empty_output Settle_output;
    typedef Settle_input Resolve_input;
    typedef Empty_output Resolve_output;

    struct Amount_input
    {
        sint64 amount;
    };
    typedef Amount_input AddStake_input;
    typedef Empty_output AddStake_output;
    typedef Amount_input RequestUnstake_input;
    typedef Empty_output RequestUnstake_output;
    typedef Amount_input Unstake_input;
    typedef Empty_output Unstake_output;

    struct ProposeSlash_input
    {
        id slash;
        id provider;
        id evidence;
        sint64 amount;
    };
    typedef Empty_output ProposeSlash_output;

    struct Slash_input
    {
        id slash;
        uint8 execute;
    };
    typedef Slash_input Appeal_input;
    typedef Empty_output Appeal_output;
    typedef Slash_input ExecuteSlash_input;
    typedef Empty_output ExecuteSlash_output;
    typedef Slash_input ResolveSlash_input;
    typedef Empty_output ResolveSlash_output;
    typedef Slash_input DropSlash_input;
    typedef Empty_output DropSlash_output;

    struct SetRoles_input
    {
        id admin;
        id operatorId;
        id arbiter;
        id slashPool;
    };
    typedef Empty_output SetRoles_output;

    struct GetEscrow_input
    {
        id job;
    };
    typedef EscrowRow GetEscrow_output;
    struct GetStake_input
    {
        id provider;
    };
    typedef StakeRow GetStake_output;
    struct GetSlash_input
    {
        id slash;
    };
    typedef SlashRow GetSlash_output;

protected:
    id admin;
    id operatorId;
    id arbiter;
    id slashPool;
    HashMap<id, EscrowRow, QUBIX_ESCROWS_MAX> escrows;
    HashMap<id, StakeRow, QUBIX_STAKES_MAX> stakes;
    HashMap<id, SlashRow, QUBIX_SLASHES_MAX> slashes;

    struct Split_input
    {
        id job;
        Shares shares;
    };
    typedef Empty_output Split_output;
    struct Split_locals
    {
        EscrowRow escrow;
        sint64 paid;
    };
    // Pays the shares and sends the rest back; refuses shares that are negative or more than is held. The status is the caller's to check.
    PRIVATE_PROCEDURE_WITH_LOCALS(Split)
    {
        state.escrows.get(input.job, locals.escrow);
        if (input.shares.amount0 < 0 || input.shares.amount1 < 0 || input.shares.amount2 < 0 || input.shares.amount3 < 0)
        {
            return;
        }
        // Each is compared before it is added: four of them would not fit one number.
        if (input.shares.amount0 > locals.escrow.amount || input.shares.amount1 > locals.escrow.amount
            || input.shares.amount2 > locals.escrow.amount || input.shares.amount3 > locals.escrow.amount)
        {
            return;
        }
        locals.paid = input.shares.amount0 + input.shares.amount1 + input.shares.amount2 + input.shares.amount3;
        if (locals.paid > locals.escrow.amount)
        {
            return;
        }
        locals.escrow.status = QUBIX_SETTLED;
        locals.escrow.paid = locals.paid;
        locals.escrow.endedEpoch = qpi.epoch();
        state.escrows.set(input.job, locals.escrow);
        if (input.shares.amount0 > 0)
        {
            qpi.transfer(input.shares.payee0, input.shares.amount0);
        }
        if (input.shares.amount1 > 0)
        {
            qpi.transfer(input.shares.payee1, input.shares.amount1);
        }
        if (input.shares.amount2 > 0)
        {
            qpi.transfer(input.shares.payee2, input.shares.amount2);
        }
        if (input.shares.amount3 > 0)
        {
            qpi.transfer(input.shares.payee3, input.shares.amount3);
        }
        if (locals.escrow.amount > locals.paid)
        {
            qpi.transfer(locals.escrow.payer, locals.escrow.amount - locals.paid);
        }
    }

    struct EndSlash_input
    {
        id slash;
        uint8 execute;
    };
    typedef Empty_output EndSlash_output;
    struct EndSlash_locals
    {
        SlashRow slash;
        StakeRow stake;
    };
    PRIVATE_PROCEDURE_WITH_LOCALS(EndSlash)
    {
        state.slashes.get(input.slash, locals.slash);
        state.stakes.get(locals.slash.provider, locals.stake);
        locals.stake.locked -= locals.slash.amount;
        locals.slash.status = QUBIX_DISMISSED;
        locals.slash.endedEpoch = qpi.epoch();
        if (input.execute != 0)
        {
            locals.slash.status = QUBIX_EXECUTED;
            locals.stake.amount -= locals.slash.amount;
            if (locals.stake.leaving > locals.stake.amount)
            {
                locals.stake.leaving = locals.stake.amount;
            }
            qpi.transfer(state.slashPool, locals.slash.amount);
        }
        state.slashes.set(input.slash, locals.slash);
        if (locals.stake.amount == 0)
        {
            state.stakes.removeByKey(locals.slash.provider);
        }
        else
        {
            state.stakes.set(locals.slash.provider, locals.stake);
        }
    }

public:
    struct Deposit_locals
    {
        EscrowRow escrow;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Deposit)
    {
        if (qpi.invocationReward() <= 0 || input.deadline <= qpi.tick() || state.escrows.contains(input.job))
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
            return;
        }
        if (qpi.invocator() != state.operatorId && state.escrows.population() >= QUBIX_ESCROWS_OPEN)
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
            return;
        }
        locals.escrow.payer = qpi.invocator();
        locals.escrow.amount = qpi.invocationReward();
        locals.escrow.paid = 0;
        locals.escrow.deadline = input.deadline;
        locals.escrow.endedEpoch = 0;
        locals.escrow.status = QUBIX_HELD;
        if (state.escrows.set(input.job, locals.escrow) == NULL_INDEX)
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
        }
    }

    struct TopUp_locals
    {
        EscrowRow escrow;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(TopUp)
    {
        if (qpi.invocationReward() <= 0 || !state.escrows.get(input.job, locals.escrow))
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
            return;
        }
        if (locals.escrow.status != QUBIX_HELD || locals.escrow.payer != qpi.invocator())
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
            return;
        }
        if (input.deadline < locals.escrow.deadline || input.deadline <= qpi.tick())
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
            return;
        }
        locals.escrow.amount += qpi.invocationReward();
        locals.escrow.deadline = input.deadline;
        state.escrows.set(input.job, locals.escrow);
    }

    struct Settle_locals
    {
        EscrowRow escrow;
        Split_input split;
        Split_output splitOutput;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Settle)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (qpi.invocator() != state.operatorId || !state.escrows.get(input.job, locals.escrow))
        {
            return;
        }
        if (locals.escrow.status != QUBIX_HELD)
        {
            return;
        }
        locals.split.job = input.job;
        locals.split.shares = input.shares;
        CALL(Split, locals.split, locals.splitOutput);
    }

    struct Resolve_locals
    {
        EscrowRow escrow;
        Split_input split;
        Split_output splitOutput;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Resolve)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (qpi.invocator() != state.arbiter || !state.escrows.get(input.job, locals.escrow))
        {
            return;
        }
        if (locals.escrow.status != QUBIX_DISPUTED)
        {
            return;
        }
        locals.split.job = input.job;
        locals.split.shares = input.shares;
        CALL(Split, locals.split, locals.splitOutput);
    }

    struct Refund_locals
    {
        EscrowRow escrow;
        // Wider than a tick: a deadline as far away as can be said, and the arbiter's time behind it, do not fit one.
        uint64 from;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Refund)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.escrows.get(input.job, locals.escrow))
        {
            return;
        }
        if (locals.escrow.status != QUBIX_HELD && locals.escrow.status != QUBIX_DISPUTED)
        {
            return;
        }
        locals.from = locals.escrow.deadline;
        if (locals.escrow.status == QUBIX_DISPUTED)
        {
            locals.from += QUBIX_DISPUTE_TICKS_MAX;
        }
        else if (qpi.invocator() == state.operatorId)
        {
            locals.from = 0;
        }
        if (qpi.tick() < locals.from)
        {
            return;
        }
        locals.escrow.status = QUBIX_REFUNDED;
        locals.escrow.endedEpoch = qpi.epoch();
        state.escrows.set(input.job, locals.escrow);
        qpi.transfer(locals.escrow.payer, locals.escrow.amount);
    }

    struct Dispute_locals
    {
        EscrowRow escrow;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Dispute)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.escrows.get(input.job, locals.escrow))
        {
            return;
        }
        if (locals.escrow.status != QUBIX_HELD)
        {
            return;
        }
        if (qpi.invocator() != locals.escrow.payer && qpi.invocator() != state.operatorId)
        {
            return;
        }
        locals.escrow.status = QUBIX_DISPUTED;
        state.escrows.set(input.job, locals.escrow);
    }

    struct AddStake_locals
    {
        StakeRow stake;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(AddStake)
    {
        if (qpi.invocationReward() <= 0)
        {
            return;
        }
        state.stakes.get(qpi.invocator(), locals.stake);
        locals.stake.amount += qpi.invocationReward();
        if (state.stakes.set(qpi.invocator(), locals.stake) == NULL_INDEX)
        {
            qpi.transfer(qpi.invocator(), qpi.invocationReward());
        }
    }

    struct RequestUnstake_locals
    {
        StakeRow stake;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(RequestUnstake)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.stakes.get(qpi.invocator(), locals.stake))
        {
            return;
        }
        if (input.amount <= 0 || input.amount > locals.stake.amount - locals.stake.leaving)
        {
            return;
        }
        locals.stake.leaving += input.amount;
        locals.stake.leavingFrom = qpi.tick() + QUBIX_UNSTAKE_TICKS;
        state.stakes.set(qpi.invocator(), locals.stake);
    }

    struct Unstake_locals
    {
        StakeRow stake;
        sint64 amount;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Unstake)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.stakes.get(qpi.invocator(), locals.stake))
        {
            return;
        }
        if (qpi.tick() < locals.stake.leavingFrom)
        {
            return;
        }
        locals.amount = locals.stake.amount - locals.stake.locked;
        if (locals.stake.leaving < locals.amount)
        {
            locals.amount = locals.stake.leaving;
        }
        if (locals.amount <= 0)
        {
            return;
        }
        locals.stake.amount -= locals.amount;
        locals.stake.leaving -= locals.amount;
        if (locals.stake.amount == 0)
        {
            state.stakes.removeByKey(qpi.invocator());
        }
        else
        {
            state.stakes.set(qpi.invocator(), locals.stake);
        }
        qpi.transfer(qpi.invocator(), locals.amount);
    }

    struct ProposeSlash_locals
    {
        StakeRow stake;
        SlashRow slash;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(ProposeSlash)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (qpi.invocator() != state.operatorId || state.slashes.contains(input.slash))
        {
            return;
        }
        if (!state.stakes.get(input.provider, locals.stake))
        {
            return;
        }
        if (input.amount <= 0 || input.evidence == NULL_ID || input.amount > locals.stake.amount - locals.stake.locked)
        {
            return;
        }
        locals.slash.provider = input.provider;
        locals.slash.evidence = input.evidence;
        locals.slash.amount = input.amount;
        locals.slash.executableFrom = qpi.tick() + QUBIX_APPEAL_TICKS;
        locals.slash.endedEpoch = 0;
        locals.slash.status = QUBIX_PROPOSED;
        if (state.slashes.set(input.slash, locals.slash) == NULL_INDEX)
        {
            return;
        }
        locals.stake.locked += input.amount;
        state.stakes.set(input.provider, locals.stake);
    }

    struct Appeal_locals
    {
        SlashRow slash;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(Appeal)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.slashes.get(input.slash, locals.slash))
        {
            return;
        }
        if (locals.slash.status != QUBIX_PROPOSED || locals.slash.provider != qpi.invocator())
        {
            return;
        }
        if (qpi.tick() >= locals.slash.executableFrom)
        {
            return;
        }
        locals.slash.status = QUBIX_APPEALED;
        state.slashes.set(input.slash, locals.slash);
    }

    struct ExecuteSlash_locals
    {
        SlashRow slash;
        EndSlash_input end;
        EndSlash_output endOutput;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(ExecuteSlash)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.slashes.get(input.slash, locals.slash))
        {
            return;
        }
        if (locals.slash.status != QUBIX_PROPOSED || qpi.tick() < locals.slash.executableFrom)
        {
            return;
        }
        locals.end.slash = input.slash;
        locals.end.execute = 1;
        CALL(EndSlash, locals.end, locals.endOutput);
    }

    struct ResolveSlash_locals
    {
        SlashRow slash;
        EndSlash_input end;
        EndSlash_output endOutput;
    };
    PUBLIC_PROCEDURE_WITH_LOCALS(ResolveSlash)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (qpi.invocator() != state.arbiter || !state.slashes.get(input.slash, locals.slash))
        {
            return;
        }
        if (locals.slash.status != QUBIX_APPEALED)
        {
            return;
        }
        locals.end.slash = input.slash;
        locals.end.execute = input.execute;
        CALL(EndSlash, locals.end, locals.endOutput);
    }

    struct DropSlash_locals
    {
        SlashRow slash;
        EndSlash_input end;
        EndSlash_output endOutput;
    };
    // The arbiter has not spoken on an appeal for too long: anyone may end it, and nothing is taken.
    PUBLIC_PROCEDURE_WITH_LOCALS(DropSlash)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (!state.slashes.get(input.slash, locals.slash))
        {
            return;
        }
        if (locals.slash.status != QUBIX_APPEALED || qpi.tick() < locals.slash.executableFrom + QUBIX_DISPUTE_TICKS_MAX)
        {
            return;
        }
        locals.end.slash = input.slash;
        locals.end.execute = 0;
        CALL(EndSlash, locals.end, locals.endOutput);
    }

    PUBLIC_PROCEDURE(SetRoles)
    {
        qpi.transfer(qpi.invocator(), qpi.invocationReward());
        if (qpi.invocator() != state.admin)
        {
            return;
        }
        state.admin = input.admin;
        state.operatorId = input.operatorId;
        state.arbiter = input.arbiter;
        state.slashPool = input.slashPool;
    }

    PUBLIC_FUNCTION(GetEscrow)
    {
        state.escrows.get(input.job, output);
    }

    PUBLIC_FUNCTION(GetStake)
    {
        state.stakes.get(input.provider, output);
    }

    PUBLIC_FUNCTION(GetSlash)
    {
        state.slashes.get(input.slash, output);
    }

    REGISTER_USER_FUNCTIONS_AND_PROCEDURES()
    {
        REGISTER_USER_FUNCTION(GetEscrow, 1);
        REGISTER_USER_FUNCTION(GetStake, 2);
        REGISTER_USER_FUNCTION(GetSlash, 3);
        REGISTER_USER_PROCEDURE(Deposit, 1);
        REGISTER_USER_PROCEDURE(TopUp, 2);
        REGISTER_USER_PROCEDURE(Settle, 3);
        REGISTER_USER_PROCEDURE(Refund, 4);
        REGISTER_USER_PROCEDURE(Dispute, 5);
        REGISTER_USER_PROCEDURE(Resolve, 6);
        REGISTER_USER_PROCEDURE(AddStake, 7);
        REGISTER_USER_PROCEDURE(RequestUnstake, 8);
        REGISTER_USER_PROCEDURE(Unstake, 9);
        REGISTER_USER_PROCEDURE(ProposeSlash, 10);
        REGISTER_USER_PROCEDURE(Appeal, 11);
        REGISTER_USER_PROCEDURE(ExecuteSlash, 12);
        REGISTER_USER_PROCEDURE(ResolveSlash, 13);
        REGISTER_USER_PROCEDURE(SetRoles, 14);
        REGISTER_USER_PROCEDURE(DropSlash, 15);
    }

    INITIALIZE()
    {
        // The operator's own identity is put here for the proposal to the computors.
        state.admin = QUBIX_ADMIN;
        state.operatorId = QUBIX_ADMIN;
        state.arbiter = QUBIX_ADMIN;
        state.slashPool = QUBIX_ADMIN;
    }

    struct END_EPOCH_locals
    {
        sint64 index;
        EscrowRow escrow;
        SlashRow slash;
    };
    // What ended before this epoch goes, so that the state stays small.
    END_EPOCH_WITH_LOCALS()
    {
        for (locals.index = 0; locals.index < static_cast<sint64>(QUBIX_ESCROWS_MAX); locals.index++)
        {
            if (!state.escrows.isEmptySlot(locals.index))
            {
                locals.escrow = state.escrows.value(locals.index);
                if (locals.escrow.status >= QUBIX_SETTLED && locals.escrow.endedEpoch < qpi.epoch())
                {
                    state.escrows.removeByIndex(locals.index);
                }
            }
        }
        for (locals.index = 0; locals.index < static_cast<sint64>(QUBIX_SLASHES_MAX); locals.index++)
        {
            if (!state.slashes.isEmptySlot(locals.index))
            {
                locals.slash = state.slashes.value(locals.index);
                if (locals.slash.status >= QUBIX_EXECUTED && locals.slash.endedEpoch < qpi.epoch())
                {
                    state.slashes.removeByIndex(locals.index);
                }
            }
        }
        state.escrows.cleanupIfNeeded();
        state.stakes.cleanupIfNeeded();
        state.slashes.cleanupIfNeeded();
    }
};
