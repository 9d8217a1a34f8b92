"""The scripts that Redis runs for a node: claims of identities and their end, a batch at a time.

A script decides about a link entry and writes the transition to the presence stream in one step, so that the
stream never tells what the entries do not.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

#: The stream is for a consumer that is seldom far behind; older transitions fall off.
PRESENCE_MAXLEN: Final = 1_000_000
#: Reason for dropping an entry that a link which is no more has left.
LEFT_BEHIND: Final = "left_behind"


class Mode(StrEnum):
    """What a claim is for."""

    #: a login; a clash is told to the stream
    FIRST = "first"
    #: tried again after a clash
    RETRY = "retry"
    #: the node was thought dead: a link that others made meanwhile stands
    AGAIN = "again"
    #: the entry gets its proven mark
    PROVE = "prove"


class Verdict(IntEnum):
    """What became of a claim."""

    HELD = 1
    #: a proven live link holds the identity
    CLASH = 2
    #: held, and the unproven link that had it is displaced
    DISPLACED = 3
    #: another live link was made meanwhile
    SUPERSEDED = 4


#: KEYS presence stream, link keys; ARGV maxlen, at_ms, then (packed link, mode) for each link key.
#: Answers (verdict, the entry that stood there or '') for each. A link is [identity, incarnation, connection,
#: server_address, node, peer, proven].
CLAIM: Final = """
local function tell(state, link, reason)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'state', state, 'identity', link[1],
    'inc', link[2], 'conn', string.format('%.0f', link[3]), 'node', link[5], 'peer', link[6],
    'server_address', string.format('%.0f', link[4]), 'at_ms', ARGV[2], 'reason', reason)
end
local answers = {}
for i = 2, #KEYS do
  local packed, mode = ARGV[2 * i - 1], ARGV[2 * i]
  local link = cmsgpack.unpack(packed)
  local held = redis.call('GET', KEYS[i])
  local verdict, other = 1, ''
  if held then
    local old = cmsgpack.unpack(held)
    local same = old[2] == link[2] and old[3] == link[3]
    if not same and redis.call('EXISTS', 'gw:node:' .. old[2]) == 1 then
      other = held
      if mode == 'again' or mode == 'prove' then verdict = 4
      elseif old[7] then verdict = 2
      else verdict = 3 end
    end
  end
  if verdict == 1 or verdict == 3 then
    redis.call('SET', KEYS[i], packed)
    if mode ~= 'prove' then tell('up', link, mode == 'again' and 'announced_again' or 'login') end
  elseif verdict == 2 and mode == 'first' then
    tell('clash', link, 'proven_link_lives')
  end
  answers[#answers + 1] = {verdict, other}
end
return answers
"""

#: KEYS and ARGV as above with the reason in place of the mode. Deletes the entry if it is this link's; tells
#: "down" unless another link has the identity. The end of a link whose entry was left behind was told before.
DROP: Final = """
for i = 2, #KEYS do
  local link = cmsgpack.unpack(ARGV[2 * i - 1])
  local held = redis.call('GET', KEYS[i])
  local old = held and cmsgpack.unpack(held)
  local same = old and old[2] == link[2] and old[3] == link[3]
  if same then redis.call('DEL', KEYS[i]) end
  if same or (not old and ARGV[2 * i] ~= 'left_behind') then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'state', 'down', 'identity', link[1],
      'inc', link[2], 'conn', string.format('%.0f', link[3]), 'node', link[5], 'peer', link[6],
      'server_address', string.format('%.0f', link[4]), 'at_ms', ARGV[2], 'reason', ARGV[2 * i])
  end
end
return #KEYS - 1
"""
