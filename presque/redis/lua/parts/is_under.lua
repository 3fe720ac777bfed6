-- Whether what `live` has of a job (or false) has this receipt.
local function is_under(text, receipt)
  local length = #receipt + 1
  return text and text:sub(2, length) == receipt and (#text == length or text:byte(length + 1) == 32) -- ' '
end
