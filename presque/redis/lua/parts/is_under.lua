-- Whether a text of `live` has this receipt.
local function is_under(text, receipt)
  local length = #receipt + 1
  return text:sub(2, length) == receipt and (#text == length or text:byte(length + 1) == 32)
end
