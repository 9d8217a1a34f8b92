"""xDLMS APDUs: one dataclass each, with `encode`; `decode_apdu` is the way in. Knows no ciphering and no
state.
"""

from __future__ import annotations

from collections.abc import Callable

from dlms.acse import Aare, Aarq, Rlre, Rlrq
from dlms.enums import ApduTag
from dlms.errors import RemoteProtocolError
from dlms.xdlms.action import (
    ActionRequestNormal,
    ActionResponseNormal,
    decode_action_request,
    decode_action_response,
)
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.get import (
    GetRequestNext,
    GetRequestNormal,
    GetResponseBlock,
    GetResponseNormal,
    decode_get_request,
    decode_get_response,
)
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from dlms.xdlms.set import SetRequestNormal, SetResponseNormal, decode_set_request, decode_set_response

Apdu = (
    Aarq
    | Aare
    | Rlrq
    | Rlre
    | InitiateRequest
    | InitiateResponse
    | ConfirmedServiceError
    | GetRequestNormal
    | GetRequestNext
    | GetResponseNormal
    | GetResponseBlock
    | SetRequestNormal
    | SetResponseNormal
    | ActionRequestNormal
    | ActionResponseNormal
    | ExceptionResponse
)

_DECODERS: dict[int, Callable[[bytes], Apdu]] = {
    ApduTag.AARQ: Aarq.decode,
    ApduTag.AARE: Aare.decode,
    ApduTag.RLRQ: Rlrq.decode,
    ApduTag.RLRE: Rlre.decode,
    ApduTag.INITIATE_REQUEST: InitiateRequest.decode,
    ApduTag.INITIATE_RESPONSE: InitiateResponse.decode,
    ApduTag.CONFIRMED_SERVICE_ERROR: ConfirmedServiceError.decode,
    ApduTag.GET_REQUEST: decode_get_request,
    ApduTag.GET_RESPONSE: decode_get_response,
    ApduTag.SET_REQUEST: decode_set_request,
    ApduTag.SET_RESPONSE: decode_set_response,
    ApduTag.ACTION_REQUEST: decode_action_request,
    ApduTag.ACTION_RESPONSE: decode_action_response,
    ApduTag.EXCEPTION_RESPONSE: ExceptionResponse.decode,
}


def decode_apdu(apdu: bytes) -> Apdu:
    """The plain APDU by its tag. Raises RemoteProtocolError only."""
    decoder = _DECODERS.get(apdu[0]) if apdu else None
    if decoder is None:
        raise RemoteProtocolError(f"no APDU begins with {apdu[:1].hex() or 'nothing'}", code="APDU_TAG")
    return decoder(apdu)
