;; Declares a settings schema that is not JSON.
;;@ schema [{
