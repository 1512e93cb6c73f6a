;; Declares that it reads at what is no JSON Pointer.
;;@ reads /a~2
