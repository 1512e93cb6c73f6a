;; Declares a read at a malformed JSON Pointer.
;;@ reads /a~2
