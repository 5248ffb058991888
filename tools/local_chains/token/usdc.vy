# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Play USDC: ERC-20 and EIP-3009 with the words of the real token's errors
@license Apache-2.0
@notice For local chains only. It has no constructor: the chain places the runtime code at the token's address.
    Signatures are of externally owned accounts; smart wallets (EIP-1271) are not asked.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)

name: public(constant(String[4])) = "USDC"
symbol: public(constant(String[4])) = "USDC"
version: public(constant(String[1])) = "2"
decimals: public(constant(uint8)) = 6

balanceOf: public(HashMap[address, uint256])
authorizationState: public(HashMap[address, HashMap[bytes32, bool]])
totalSupply: public(uint256)

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
TRANSFER_TYPE: constant(bytes32) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
# Vyper has no overloading, so the second form of transferWithAuthorization is taken in by __default__.
SIGNATURE_FORM: constant(bytes4) = method_id(
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)", output_type=bytes4
)
# The greatest s that is not malleable (EIP-2).
HIGHEST_S: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return self._domain()


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._move(msg.sender, receiver, amount)
    return True


@external
def mint(receiver: address, amount: uint256):
    """Only the chain itself can send from the zero address."""
    assert msg.sender == empty(address), "FiatToken: caller is not a minter"
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, value=amount)


@external
def transferWithAuthorization(
    sender: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    self._authorized(
        sender, receiver, amount, valid_after, valid_before, nonce, convert(v, uint256), convert(r, uint256), convert(s, uint256)
    )


@external
def __default__():
    # Selector, seven words, the length of the signature, and its 65 bytes in three words; a suffix may follow.
    assert len(msg.data) >= 356, "unknown function"
    assert convert(slice(msg.data, 0, 4), bytes4) == SIGNATURE_FORM, "unknown function"
    sender: address = empty(address)
    receiver: address = empty(address)
    amount: uint256 = 0
    valid_after: uint256 = 0
    valid_before: uint256 = 0
    nonce: bytes32 = empty(bytes32)
    signature: Bytes[65] = b""
    sender, receiver, amount, valid_after, valid_before, nonce, signature = abi_decode(
        slice(msg.data, 4, 352), (address, address, uint256, uint256, uint256, bytes32, Bytes[65])
    )
    assert len(signature) == 65, "ECRecover: invalid signature length"
    self._authorized(
        sender,
        receiver,
        amount,
        valid_after,
        valid_before,
        nonce,
        convert(slice(signature, 64, 1), uint256),
        extract32(signature, 0, output_type=uint256),
        extract32(signature, 32, output_type=uint256),
    )


@internal
def _authorized(
    sender: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint256,
    r: uint256,
    s: uint256,
):
    assert block.timestamp > valid_after, "FiatTokenV2: authorization is not yet valid"
    assert block.timestamp < valid_before, "FiatTokenV2: authorization is expired"
    assert not self.authorizationState[sender][nonce], "FiatTokenV2: authorization is used or canceled"
    assert s <= HIGHEST_S, "ECRecover: invalid signature 's' value"
    assert v == 27 or v == 28, "ECRecover: invalid signature 'v' value"
    said: bytes32 = keccak256(
        abi_encode(TRANSFER_TYPE, sender, receiver, amount, valid_after, valid_before, nonce)
    )
    digest: bytes32 = keccak256(concat(b"\x19\x01", self._domain(), said))
    signer: address = ecrecover(digest, v, r, s)
    assert signer != empty(address) and signer == sender, "FiatTokenV2: invalid signature"
    self.authorizationState[sender][nonce] = True
    log AuthorizationUsed(authorizer=sender, nonce=nonce)
    self._move(sender, receiver, amount)


@internal
def _move(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "ERC20: transfer to the zero address"
    assert self.balanceOf[sender] >= amount, "ERC20: transfer amount exceeds balance"
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, value=amount)


@internal
@view
def _domain() -> bytes32:
    return keccak256(
        abi_encode(DOMAIN_TYPE, keccak256(name), keccak256(version), chain.id, self)
    )
